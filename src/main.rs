//! glmtune
fn main() {}
