//! Characters in texts of others that people would not see, or that turn what stands around them.
//!
//! Must never: let a name or a label hide, or reorder, the text beside it.

/// Control characters, and those of Unicode that have no width, direct the writing, or stand for nothing.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}')
}
