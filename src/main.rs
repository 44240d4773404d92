//! varde
fn main() {}
