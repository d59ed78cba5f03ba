//! Measures three MQTT packet codecs against each other and prints the figures as Markdown: CPU per packet, whether
//! payloads are copied, whether foreign bytes make them panic, and which rules of MQTT they check.
//!
//! `cargo run --release` in this folder. The result and what we concluded from it stand in `docs/codec-choice.md`.

mod codecs;
mod copies;
mod cost;
mod foreign;
mod rules;
mod wire;

fn main() {
    println!("## CPU per packet\n");
    cost::print();
    println!("\n## Payload\n");
    copies::print();
    println!("\n## Foreign bytes\n");
    foreign::print();
    println!("\n## Rules\n");
    rules::print();
}
