//! glmtune
