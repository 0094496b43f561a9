//! What processes cost the CPU, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Fields of `/proc/<pid>/stat` after the name in brackets, which is the second.
const PARENT: usize = 1;
const OWN_TIME: [usize; 2] = [11, 12];
const CHILDREN_TIME: [usize; 2] = [13, 14];

/// CPU time, in user mode and in the kernel, of a process and of those that it started and that
/// still run.
pub fn of_tree(root: u32) -> anyhow::Result<Duration> {
    let processes = processes()?;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.id));
        next += 1;
    }
    let ticks = processes.iter().filter(|process| found.contains(&process.id)).map(|process| process.ticks);
    Ok(time(ticks.sum()))
}

/// CPU time of this program's children that have ended and been waited for.
pub fn of_ended_children() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read `/proc/self/stat`")?;
    let ticks = sum(&stat, CHILDREN_TIME).context("`/proc/self/stat` is not understood")?;
    Ok(time(ticks))
}

/// CPU time of everything that ran on this machine.
pub fn of_machine() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read `/proc/stat`")?;
    let first = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Vec<u64> = first.skip(1).map_while(|field| field.parse().ok()).collect();
    // User, nice, system, interrupts and soft interrupts; not idle, waiting or stolen.
    Ok(time([0, 1, 2, 5, 6].iter().filter_map(|&field| ticks.get(field)).sum()))
}

struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
}

fn processes() -> anyhow::Result<Vec<Process>> {
    let folder = fs::read_dir("/proc").context("cannot read `/proc`")?;
    let process = |entry: std::io::Result<fs::DirEntry>| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        // One that has ended meanwhile is no error.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        Some(Process { id, parent: u32::try_from(field(&stat, PARENT)?).ok()?, ticks: sum(&stat, OWN_TIME)? })
    };
    Ok(folder.filter_map(process).collect())
}

fn sum(stat: &str, fields: [usize; 2]) -> Option<u64> {
    Some(field(stat, fields[0])? + field(stat, fields[1])?)
}

/// A field after the name, which may itself have spaces and brackets.
fn field(stat: &str, index: usize) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_is_skipped() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 50 6 70 8 20 0 1 0 99";
        assert_eq!(field(stat, PARENT), Some(3));
        assert_eq!(sum(stat, OWN_TIME), Some(56));
        assert_eq!(sum(stat, CHILDREN_TIME), Some(78));
    }

    #[test]
    fn a_tree_includes_what_a_process_started() {
        // The `:` keeps the outer shell from becoming the inner one.
        let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo; read line'; :";
        let mut outer = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The inner shell has worked for a while when it prints, and then waits for a line.
        std::io::Read::read(outer.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let tree = of_tree(outer.id()).unwrap();
        let outer_alone = fs::read_to_string(format!("/proc/{}/stat", outer.id())).unwrap();
        let outer_alone = time(sum(&outer_alone, OWN_TIME).unwrap());
        let with_this = of_tree(std::process::id()).unwrap();
        outer.kill().unwrap();
        // Closes the standard input too, which ends the inner shell.
        outer.wait().unwrap();
        assert!(tree > outer_alone, "{tree:?} {outer_alone:?}");
        assert!(with_this >= tree, "{with_this:?} {tree:?}");
    }
}
