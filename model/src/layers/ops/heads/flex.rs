//! The default serves the CPU: parts are views there, and turning them is what takes the time.

use burn_flex::Flex;

use super::HeadsOps;

impl HeadsOps for Flex {}
