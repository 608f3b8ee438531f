//! What is worth a line.

/// Gets what is worth a line and is no fault.
pub type Note<'a> = &'a mut dyn FnMut(&str);
