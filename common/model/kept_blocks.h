#pragma once

#include <cstddef>

namespace troupe {

/// From now on tensors on the CPU of 1 MiB and more get their memory from blocks that earlier ones left, where one fits: the memory of
/// activations and logits comes and goes with each micro-batch, and of fresh memory each page is a fault and has to be cleared. What is left
/// and unused is at most as much as is in use, else it goes back to the system. Once a process.
void keep_large_blocks();

/// Bytes that are left and unused.
std::size_t kept_bytes();

}  // namespace troupe
