//! Whole dialogues.
