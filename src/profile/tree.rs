//! Paths of a field table, and the tree of keys that they make together.
//!
//! A path names keys with dots between them. `$` is the message itself; inside an array of readings a path
//! starts at the element, and one that begins with `$.` starts at the message.

use super::table::Place;
use super::wire::{Kind, Node};
use crate::limits::PAYLOAD_DEPTH_MAX;

/// Collects paths and hands out their slots.
pub(super) struct Paths {
    message: Tree,
    element: Option<Tree>,
    each: Option<String>,
    names: Vec<(Place, String)>,
}

/// The finished tree.
pub(super) struct Grown {
    pub(super) root: Node,
    pub(super) slots: usize,
    pub(super) stride: usize,
    pub(super) each: Option<Place>,
    pub(super) names: Vec<(Place, String)>,
}

struct Tree {
    root: Node,
    next: usize,
}

const CONFLICT: &str = "one path takes a value for an object and another its keys";

fn node(key: &str, slot: usize, kind: Kind) -> Node {
    Node { key: key.into(), number: key.parse().ok(), slot, kind }
}

/// The keys of a path; none for `$`.
fn keys(path: &str) -> Result<Vec<&str>, &'static str> {
    let path = path.strip_prefix("$.").unwrap_or(path);
    let keys: Vec<&str> = if path == "$" { Vec::new() } else { path.split('.').collect() };
    if keys.iter().any(|k| k.is_empty()) {
        return Err("a path with an empty key");
    }
    if keys.len() >= PAYLOAD_DEPTH_MAX {
        return Err("a path deeper than the gateway follows");
    }
    Ok(keys)
}

impl Tree {
    fn new() -> Self {
        Self { root: node("", 0, Kind::Branch(Vec::new())), next: 1 }
    }

    /// The node at these keys, which is made if it is not there.
    fn at(&mut self, keys: &[&str]) -> Result<&mut Node, &'static str> {
        let mut here = &mut self.root;
        for key in keys {
            let Kind::Branch(children) = &mut here.kind else { return Err(CONFLICT) };
            let found = children.iter().position(|c| *c.key == **key);
            let i = found.unwrap_or_else(|| {
                children.push(node(key, self.next, Kind::Branch(Vec::new())));
                self.next += 1;
                children.len() - 1
            });
            here = children.get_mut(i).ok_or(CONFLICT)?;
        }
        Ok(here)
    }

    fn set(&mut self, keys: &[&str], kind: Kind) -> Result<usize, &'static str> {
        let here = self.at(keys)?;
        match (&here.kind, &kind) {
            (Kind::Leaf, Kind::Leaf) => {}
            (Kind::Branch(children), _) if children.is_empty() => here.kind = kind,
            _ => return Err(CONFLICT),
        }
        Ok(here.slot)
    }
}

impl Paths {
    /// Paths of a table whose readings are the elements of `each`, if given.
    pub(super) fn new(each: Option<&str>) -> Self {
        Self { message: Tree::new(), element: each.map(|_| Tree::new()), each: each.map(Into::into), names: Vec::new() }
    }

    /// The place of a path's value.
    pub(super) fn place(&mut self, path: &str) -> Result<Place, &'static str> {
        let of_message = path == "$" || path.starts_with("$.");
        let keys = keys(path)?;
        let place = match &mut self.element {
            Some(element) if !of_message => Place::Element(element.set(&keys, Kind::Leaf)?),
            _ => Place::Message(self.message.set(&keys, Kind::Leaf)?),
        };
        if !self.names.iter().any(|(p, _)| *p == place) {
            self.names.push((place, path.into()));
        }
        Ok(place)
    }

    /// The finished tree.
    pub(super) fn grow(mut self) -> Result<Grown, &'static str> {
        let (mut each, mut stride) = (None, 0);
        if let (Some(path), Some(element)) = (&self.each, self.element) {
            stride = element.next;
            each = Some(Place::Message(self.message.set(&keys(path)?, Kind::Each(Box::new(element.root)))?));
        }
        Ok(Grown { root: self.message.root, slots: self.message.next, stride, each, names: self.names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_an_object() {
        let mut paths = Paths::new(None);
        paths.place("a.b").unwrap();
        assert!(paths.place("a").is_err() && paths.place("a.b.c").is_err() && paths.place("a..b").is_err());
        assert_eq!(paths.place("a.b"), paths.place("$.a.b"));
    }

    #[test]
    fn elements_have_slots_of_their_own() {
        let mut paths = Paths::new(Some("readings"));
        assert!(matches!(paths.place("value"), Ok(Place::Element(_))));
        assert!(matches!(paths.place("$.device"), Ok(Place::Message(_))));
        let grown = paths.grow().unwrap();
        assert_eq!((grown.slots, grown.stride), (3, 2));
        let mut clash = Paths::new(Some("device"));
        clash.place("$.device.id").unwrap();
        assert!(clash.grow().is_err());
    }
}
