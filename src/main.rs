//! Arguments, runtime, exit codes.

fn main() {}
