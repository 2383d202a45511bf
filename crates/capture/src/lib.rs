//! From packet rings to ordered frames to files: merging, encoding, rotation, limits, accounting.
