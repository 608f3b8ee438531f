//! The CPU's products and dropout are fast by themselves.

use burn_flex::Flex;

use super::LoraOps;

impl LoraOps for Flex {}
