//! What a power cut leaves.

use std::collections::BTreeMap;

use super::{Durable, Image, Op, Random};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// The files after a power cut at the end of this log.
pub(crate) fn cut(start: &Durable, log: &[Op], random: &mut Random) -> Image {
    let Durable { names: mut entries, mut files } = start.clone();
    // Not synced yet: of each file, and of the folder.
    let mut open: Vec<Vec<&Op>> = vec![Vec::new(); files.len()];
    let mut moves: Vec<&Op> = Vec::new();
    for op in log {
        match op {
            Op::Create { file, .. } => {
                files.resize(files.len().max(file + 1), Vec::new());
                open.resize(open.len().max(file + 1), Vec::new());
                moves.push(op);
            }
            Op::Delete { .. } | Op::Rename { .. } => moves.push(op),
            Op::Write { file, .. } | Op::Truncate { file, .. } => open[*file].push(op),
            Op::Sync { file } => open[*file].drain(..).for_each(|op| apply(&mut files[*file], op)),
            Op::Spoiled { file } => {
                let spoiled = std::mem::take(&mut open[*file]);
                fate(&mut files[*file], &spoiled, random);
            }
            Op::Folder => moves.drain(..).for_each(|op| enter(&mut entries, op)),
        }
    }
    for (content, ops) in files.iter_mut().zip(&open) {
        fate(content, ops, random);
    }
    // Entries change in order.
    let kept = random.below(moves.len() + 1);
    moves[..kept].iter().for_each(|op| enter(&mut entries, op));
    entries.into_iter().map(|(name, file)| (name, files[file].clone())).collect()
}

/// Takes into what is durable all that later syncs made so. Answers what is left of the log. There is no failed sync in it.
pub(crate) fn settle(start: &mut Durable, log: Vec<Op>) -> Vec<Op> {
    let mut open: BTreeMap<usize, Vec<Op>> = BTreeMap::new();
    let mut moves: Vec<Op> = Vec::new();
    for op in log {
        match op {
            Op::Create { file, .. } => {
                start.files.resize(start.files.len().max(file + 1), Vec::new());
                moves.push(op);
            }
            Op::Delete { .. } | Op::Rename { .. } => moves.push(op),
            Op::Write { file, .. } | Op::Truncate { file, .. } => open.entry(file).or_default().push(op),
            Op::Sync { file } => {
                open.remove(&file).unwrap_or_default().iter().for_each(|op| apply(&mut start.files[file], op));
            }
            Op::Folder => moves.drain(..).for_each(|op| enter(&mut start.names, &op)),
            Op::Spoiled { .. } => {}
        }
    }
    moves.into_iter().chain(open.into_values().flatten()).collect()
}

/// What becomes of what was not synced.
fn fate(content: &mut Vec<u8>, ops: &[&Op], random: &mut Random) {
    if ops.is_empty() {
        return;
    }
    match random.below(4) {
        0 => {}
        1 => ops.iter().for_each(|op| apply(content, op)),
        2 => {
            let kept = random.below(ops.len());
            ops[..kept].iter().for_each(|op| apply(content, op));
            tear(content, ops[kept], random);
        }
        _ => {
            let mut order: Vec<&Op> = ops.to_vec();
            if random.one_in(2) {
                for i in (1..order.len()).rev() {
                    order.swap(i, random.below(i + 1));
                }
            }
            for op in order {
                match random.below(3) {
                    0 => {}
                    1 => apply(content, op),
                    _ => tear(content, op, random),
                }
            }
        }
    }
}

/// Some sectors of a write, or its beginning.
fn tear(content: &mut Vec<u8>, op: &Op, random: &mut Random) {
    let Op::Write { at, data, .. } = op else { return };
    if random.one_in(4) {
        let kept = random.below(data.len());
        return write(content, *at, &data[..kept]);
    }
    let mut from = 0;
    while from < data.len() {
        let to = data.len().min(from + SECTOR - (at + from) % SECTOR);
        if random.one_in(2) {
            write(content, at + from, &data[from..to]);
        }
        from = to;
    }
}

fn apply(content: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { at, data, .. } => write(content, *at, data),
        Op::Truncate { len, .. } => content.truncate(*len),
        _ => {}
    }
}

fn enter(entries: &mut BTreeMap<String, usize>, op: &Op) {
    match op {
        Op::Create { name, file } => drop(entries.insert(name.clone(), *file)),
        Op::Delete { name } => drop(entries.remove(name)),
        Op::Rename { from, to } => {
            if let Some(file) = entries.remove(from) {
                entries.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

/// A gap before it reads as zeros.
pub(crate) fn write(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let end = at + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(data);
}
