//! Path templates as a tree: a lookup goes down the request's segments, so it does not depend on how many there are.
//!
//! At each node the literal child comes before `*`, and `**` comes last, whatever stands below: so the first entry that
//! is accepted is the most specific one. A node is visited at most once per lookup, since a tree has one way to it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use forebay_protocol::policy::path::{Segment, of_request};

use super::Work;

/// The tree; entries are numbers, those of one template in their order of insertion.
#[derive(Clone, Debug)]
pub struct Paths {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: Vec<(Box<[u8]>, usize)>,
    one: Option<usize>,
    here: Vec<u32>,
    rest: Vec<u32>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Paths {
    /// Adds an entry; without template it is for every path.
    pub fn insert(&mut self, template: Option<&[Segment]>, entry: u32) {
        let (mut node, mut rest) = (0, template.is_none());
        for segment in template.unwrap_or_default() {
            let new = self.nodes.len();
            let Some(at) = self.nodes.get_mut(node) else { return };
            let next = match segment {
                Segment::Rest => {
                    rest = true;
                    break;
                }
                Segment::One(_) => *at.one.get_or_insert(new),
                Segment::Literal(text) => {
                    let found = at.literals.binary_search_by(|(known, _)| (**known).cmp(text.as_bytes()));
                    match found.map(|place| at.literals.get(place)) {
                        Ok(Some((_, child))) => *child,
                        Ok(None) => return,
                        Err(place) => {
                            at.literals.insert(place, (text.as_bytes().into(), new));
                            new
                        }
                    }
                }
            };
            if next == new {
                self.nodes.push(Node::default());
            }
            node = next;
        }
        if let Some(node) = self.nodes.get_mut(node) {
            if rest { node.rest.push(entry) } else { node.here.push(entry) }
        }
    }

    /// Whether it makes no difference what the path is.
    pub fn indifferent(&self) -> bool {
        self.nodes.len() == 1 && self.nodes.first().is_some_and(|root| root.here.is_empty())
    }

    /// The most specific entry for `path` that `accept` accepts.
    pub fn find(&self, path: &[u8], work: &mut Work, accept: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
        match of_request(path) {
            Some(segments) => self.visit(0, Some(segments), work, accept),
            None => first(&self.nodes.first()?.rest, work, accept),
        }
    }

    /// `segments` is what is left of the path; `None` at its end. The depth is bounded by that of the templates.
    fn visit(
        &self,
        node: usize,
        segments: Option<&[u8]>,
        work: &mut Work,
        accept: &mut dyn FnMut(u32) -> bool,
    ) -> Option<u32> {
        let node = self.nodes.get(node)?;
        work.nodes = work.nodes.saturating_add(1);
        let below = match segments {
            None => first(&node.here, work, accept),
            Some(segments) => {
                let end = segments.iter().position(|byte| *byte == b'/');
                let (segment, next) = match end {
                    Some(end) => (segments.get(..end).unwrap_or_default(), segments.get(end + 1..)),
                    None => (segments, None),
                };
                let literal = node.literals.binary_search_by(|(known, _)| (**known).cmp(segment)).ok();
                let literal = literal.and_then(|place| node.literals.get(place)).map(|(_, child)| *child);
                literal.and_then(|child| self.visit(child, next, work, accept)).or_else(|| {
                    let one = node.one.filter(|_| !segment.is_empty())?;
                    self.visit(one, next, work, accept)
                })
            }
        };
        below.or_else(|| first(&node.rest, work, accept))
    }
}

fn first(entries: &[u32], work: &mut Work, accept: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
    entries.iter().copied().find(|entry| {
        work.candidates = work.candidates.saturating_add(1);
        accept(*entry)
    })
}
