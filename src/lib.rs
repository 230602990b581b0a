//! shipgate
