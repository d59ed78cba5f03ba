//! What the process uses, as Linux tells it.

use std::fs;
use std::io;
use std::time::Duration;

/// Bytes of one page; the kernel counts resident memory in pages.
const PAGE: u64 = 4_096;

/// Memory that is resident now.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    Ok(number(&statm, 1)? * PAGE)
}

/// Time that all threads of this process but the calling one, its first, have run so far.
pub(crate) fn cpu_of_others() -> io::Result<Duration> {
    let own = std::process::id().to_string();
    let mut nanoseconds = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?;
        if thread.file_name() == *own {
            continue;
        }
        match fs::read_to_string(thread.path().join("schedstat")) {
            Ok(schedstat) => nanoseconds += number(&schedstat, 0)?,
            // A thread that has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The word at a place, a number.
fn number(text: &str, place: usize) -> io::Result<u64> {
    let word = text.split_whitespace().nth(place);
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other("/proc says something else than expected"))
}
