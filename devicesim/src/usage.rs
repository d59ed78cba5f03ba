//! What a server's process uses, read from `/proc`: CPU, memory, writes. Its children count with it.

use std::fs::read_to_string;

/// Clock ticks a second, as Linux reports them.
const TICKS: f64 = 100.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system, in seconds.
    pub cpu_s: f64,
    pub resident: u64,
    /// Bytes written to the disk.
    pub written: u64,
}

impl Usage {
    /// Of a process and its children; `None` when there is no such process, or this is no Linux.
    pub fn of(pid: u32) -> Option<Usage> {
        let mut usage = Usage::default();
        let mut all = vec![pid];
        let mut found = false;
        while let Some(pid) = all.pop() {
            let read = |file: &str| read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let Some(ticks) = ticks(&read("stat")) else {
                continue;
            };
            found = true;
            usage.cpu_s += ticks / TICKS;
            usage.resident += field(&read("status"), "VmRSS:") * 1024;
            usage.written += field(&read("io"), "write_bytes:");
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten();
            for task in tasks {
                let children = read_to_string(task.path().join("children")).unwrap_or_default();
                all.extend(
                    children
                        .split_whitespace()
                        .filter_map(|pid| pid.parse::<u32>().ok()),
                );
            }
        }
        found.then_some(usage)
    }
}

/// User and system ticks in the text of `/proc/PID/stat`; the name in it may hold anything.
fn ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_whatever_the_process_is_called() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks(""), None);
        assert_eq!(field("VmPeak: 1 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), 2048);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_uses_memory_and_nobody_uses_none() {
        assert!(Usage::of(std::process::id()).unwrap().resident > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
