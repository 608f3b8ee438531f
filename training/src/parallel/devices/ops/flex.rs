//! The CPU, whose devices are all the same one.

use burn_flex::Flex;

use super::CollectiveOps;

impl CollectiveOps for Flex {}
