//! The process itself, under the names Prometheus gives to every process. Elsewhere than on Linux there are none.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Reads `/proc/self` at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct Process;

#[cfg(target_os = "linux")]
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Ok(own) = procfs::process::Process::myself() else {
            return Ok(());
        };
        if let Ok(stat) = own.stat() {
            let ticks = (stat.utime + stat.stime) as f64;
            let seconds = ticks / procfs::ticks_per_second() as f64;
            counter(
                &mut encoder,
                "process_cpu_seconds",
                "CPU time, user and system.",
                seconds,
            )?;
            let resident = stat.rss * procfs::page_size();
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Memory in use.",
                resident as f64,
            )?;
            gauge(
                &mut encoder,
                "process_virtual_memory_bytes",
                "Address space in use.",
                stat.vsize as f64,
            )?;
            gauge(
                &mut encoder,
                "process_threads",
                "Threads.",
                stat.num_threads as f64,
            )?;
            if let Ok(booted) = procfs::boot_time_secs() {
                let ticks = stat.starttime as f64;
                let seconds = booted as f64 + ticks / procfs::ticks_per_second() as f64;
                let help = "Start of the process, seconds since 1970.";
                gauge(&mut encoder, "process_start_time_seconds", help, seconds)?;
            }
        }
        if let Ok(open) = own.fd_count() {
            gauge(
                &mut encoder,
                "process_open_fds",
                "File descriptors in use.",
                open as f64,
            )?;
        }
        if let Ok(limits) = own.limits()
            && let procfs::process::LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            let help = "File descriptors this process may use.";
            gauge(&mut encoder, "process_max_fds", help, most as f64)?;
        }
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    use prometheus_client::encoding::EncodeMetric as _;
    let gauge = prometheus_client::metrics::gauge::ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

#[cfg(target_os = "linux")]
fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    use prometheus_client::encoding::EncodeMetric as _;
    let counter = prometheus_client::metrics::counter::ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

#[cfg(not(target_os = "linux"))]
impl Collector for Process {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}
