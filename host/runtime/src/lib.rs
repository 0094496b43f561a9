//! The data plane: one invocation end to end
