//! Tests of the programs, later.
