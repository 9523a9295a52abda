//! The program `tidegate` as a user runs it.
