//! What a prepared model depends on besides the model: with another library or on another processor, it
//! would at best be slow.

use std::ffi::CStr;

use modelet_types::Digest;

/// Changes with what `options` asks of ONNX Runtime, and with what is in the folder of a form.
const FORM: u32 = 1;

/// What proc_cpuinfo(5) says of a processor on x86-64 and on ARM that its kernels are chosen by. Clock rates
/// and the like change from one moment to the next.
const TRAITS: [&str; 10] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "Features",
];

/// The name under which forms of this machine are kept, with the library of `version`.
pub fn of_this_machine(version: &str) -> Option<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    Some(name(version, &build(), &traits(&processors)?))
}

fn name(version: &str, build: &str, traits: &str) -> String {
    let all = format!("{FORM}\n{version}\n{build}\n{traits}");
    Digest::of(all.as_bytes()).to_hex()[..16].to_owned()
}

/// How the library was built, which its version does not tell.
#[expect(unsafe_code, reason = "the C API")]
fn build() -> String {
    // SAFETY: the function takes nothing and gives a text that lives as long as the library: for ever.
    let text = unsafe { CStr::from_ptr((ort::api().GetBuildInfoString)()) };
    text.to_string_lossy().into_owned()
}

/// The traits of all processors, each once: a machine may have several kinds.
fn traits(processors: &str) -> Option<String> {
    let mut found: Vec<&str> = processors
        .lines()
        .filter(|line| line.split_once(':').is_some_and(|(key, _)| TRAITS.contains(&key.trim())))
        .collect();
    found.sort_unstable();
    found.dedup();
    (!found.is_empty()).then(|| found.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "processor\t: 0\nvendor_id\t: A\nflags\t\t: fpu avx2\ncpu MHz\t\t: 2400.1\n";

    #[test]
    fn the_clock_rate_and_the_number_of_processors_change_nothing() {
        let two = format!("{ONE}\n{}", ONE.replace("2400.1", "1200.7").replace(": 0", ": 1"));
        assert_eq!(traits(ONE), traits(&two));
        assert_eq!(traits("nothing that is known\n"), None);
    }

    #[test]
    fn another_library_or_processor_has_another_name() {
        let traits = [ONE, &ONE.replace("avx2", "avx512f")].map(|text| traits(text).unwrap());
        let names = [
            name("1.32.0", "release", &traits[0]),
            name("1.32.1", "release", &traits[0]),
            name("1.32.0", "another", &traits[0]),
            name("1.32.0", "release", &traits[1]),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() == 16 && !names[..index].contains(name), "{names:?}");
        }
    }
}
