//! `--set limits.memory_bytes=1048576`: an entry of `modelet.toml` for one deploy.

use std::str::FromStr;

use toml::{Table, Value};

/// An entry and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The entry, such as `limits.memory_bytes`.
    pub path: String,
    value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) =
            text.split_once('=').ok_or("write `entry=value`, as in `scale.handler_idle_timeout_ms=500`")?;
        let (path, value) = (path.trim(), value.trim());
        if path.split('.').any(str::is_empty) {
            return Err(format!("`{path}` is not an entry of modelet.toml"));
        }
        // Configuration is text, whatever it looks like. Elsewhere a value that is not TOML is a
        // text without its quotes, which a shell would have eaten anyway.
        let typed = if path.starts_with("config.") { None } else { read(value) };
        Ok(Self { path: path.into(), value: typed.unwrap_or_else(|| Value::String(value.into())) })
    }
}

fn read(value: &str) -> Option<Value> {
    let mut table: Table = toml::from_str(&format!("value = {value}")).ok()?;
    table.remove("value")
}

impl Setting {
    /// Writes the entry into a manifest, with the tables that lead to it.
    ///
    /// # Errors
    /// If what leads to it is not a table.
    pub fn apply(&self, manifest: &mut Table) -> Result<(), String> {
        let mut table = manifest;
        let mut steps: Vec<&str> = self.path.split('.').collect();
        let last = steps.pop().unwrap_or_default();
        for step in steps {
            let inner = table.entry(step).or_insert_with(|| Value::Table(Table::new()));
            table = inner.as_table_mut().ok_or_else(|| format!("`{step}` is not a table"))?;
        }
        table.insert(last.into(), self.value.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(to: &str, settings: &[&str]) -> Table {
        let mut table: Table = toml::from_str(to).unwrap();
        for setting in settings {
            setting.parse::<Setting>().unwrap().apply(&mut table).unwrap();
        }
        table
    }

    #[test]
    fn writes_over_entries_and_makes_tables() {
        let table = applied("[limits]\nhandles = 9\n", &["limits.handles=10", "scale.idle=5", "name=x"]);
        let expected: Table =
            toml::from_str("name = 'x'\n[limits]\nhandles = 10\n[scale]\nidle = 5\n").unwrap();
        assert_eq!(table, expected);
    }

    #[test]
    fn configuration_is_text() {
        let table = applied("", &["config.retries=3", "outbound=['a.example']"]);
        assert_eq!(table["config"]["retries"], Value::from("3"));
        assert_eq!(table["outbound"][0], Value::from("a.example"));
    }

    #[test]
    fn refuses_what_is_no_entry() {
        assert!("limits".parse::<Setting>().is_err());
        assert!(".x=1".parse::<Setting>().is_err());
        let setting: Setting = "name.first=x".parse().unwrap();
        assert!(setting.apply(&mut applied("name = 'a'", &[])).is_err());
    }
}
