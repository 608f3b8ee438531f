//! Predictions to numbers.
