//! A part of the pipeline as a flat list of steps.

use super::node::Node;
use crate::error::Result;
use crate::tokenizer::limits;

/// The steps of a part in their order, sequences within sequences taken apart. `items` is what the part's
/// sequences call their steps.
pub(super) fn flatten<'a>(part: Node<'a>, items: &str) -> Result<Vec<Node<'a>>> {
    let mut steps = Vec::new();
    if !part.is_null() {
        collect(part, items, 0, &mut steps)?;
    }
    Ok(steps)
}

fn collect<'a>(node: Node<'a>, items: &str, depth: usize, steps: &mut Vec<Node<'a>>) -> Result<()> {
    if node.kind()? == "Sequence" {
        if depth == limits::NESTING {
            let expected = format!("at most {} sequences within each other", limits::NESTING);
            return Err(node.error("one more", expected));
        }
        return node
            .field(items)
            .items()?
            .into_iter()
            .try_for_each(|item| collect(item, items, depth + 1, steps));
    }
    if steps.len() == limits::STEPS {
        let expected = format!("at most {} steps", limits::STEPS);
        return Err(node.error("one more", expected));
    }
    steps.push(node);
    Ok(())
}
