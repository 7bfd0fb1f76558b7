//! Storage levels: where the column chunks of a cached table are kept. The names are Spark's.

use std::fmt;

/// How chunks are kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemoryForm {
    /// As arrays that are quickly read.
    Arrays,
    /// As compressed bytes (`_SER`): less memory, more work for each scan.
    Compressed,
}

/// What `CACHE TABLE` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StorageLevel {
    /// `None`: not in memory, but while a scan reads it.
    pub memory: Option<MemoryForm>,
    /// What does not fit into memory goes to the executor's disk rather than away.
    pub disk: bool,
    /// On so many executors.
    pub replicas: u32,
}

const NAMES: [&str; 10] = [
    "MEMORY_ONLY",
    "MEMORY_ONLY_2",
    "MEMORY_ONLY_SER",
    "MEMORY_ONLY_SER_2",
    "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_2",
    "MEMORY_AND_DISK_SER",
    "MEMORY_AND_DISK_SER_2",
    "DISK_ONLY",
    "DISK_ONLY_2",
];

impl StorageLevel {
    /// What `CACHE TABLE` means where it names none, as in Spark.
    pub const DEFAULT: Self = Self {
        memory: Some(MemoryForm::Arrays),
        disk: true,
        replicas: 1,
    };

    /// The level of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        if !NAMES.contains(&name.as_str()) {
            return None;
        }
        let (name, replicas) = match name.strip_suffix("_2") {
            Some(name) => (name, 2),
            None => (name.as_str(), 1),
        };
        let (name, form) = match name.strip_suffix("_SER") {
            Some(name) => (name, MemoryForm::Compressed),
            None => (name, MemoryForm::Arrays),
        };
        Some(Self {
            memory: (name != "DISK_ONLY").then_some(form),
            disk: name != "MEMORY_ONLY",
            replicas,
        })
    }

    /// All names, for hints.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }
}

impl fmt::Display for StorageLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.memory, self.disk) {
            (None, _) => "DISK_ONLY",
            (Some(_), true) => "MEMORY_AND_DISK",
            (Some(_), false) => "MEMORY_ONLY",
        })?;
        if self.memory == Some(MemoryForm::Compressed) {
            f.write_str("_SER")?;
        }
        if self.replicas == 2 {
            f.write_str("_2")?;
        }
        Ok(())
    }
}

/// How a table is to be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    pub level: StorageLevel,
    /// As statements read it, rather than at once.
    pub lazy: bool,
}

/// What a scan of a file may do for the cache beyond what the cache does by itself. Goes with each
/// file of a scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCaching {
    /// The table's, if it was told to be cached.
    pub level: Option<StorageLevel>,
    /// Nobody changes the file as long as it is there: its version is certain however new it is.
    pub written_once: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_means_a_level_of_its_own_that_prints_as_it() {
        for name in NAMES {
            let level = StorageLevel::parse(&name.to_lowercase()).unwrap();
            assert_eq!(level.to_string(), name);
        }
        for name in [
            "",
            "MEMORY",
            "_2",
            "DISK_ONLY_SER",
            "OFF_HEAP",
            "MEMORY_ONLY_3",
        ] {
            assert_eq!(StorageLevel::parse(name), None, "{name}");
        }
        assert_eq!(StorageLevel::DEFAULT.to_string(), "MEMORY_AND_DISK");
    }
}
