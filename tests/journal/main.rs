//! The journal from outside: what it promises, with real files.

mod basics;
mod support;
