// A mapped file that another process cuts short, or whose disk fails, would end the program with
// SIGBUS at the next byte that is read. Instead the bytes read as zeros from there on, and the job
// ends with an Error that names the file, in the orderly way in which every failure ends.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace moebius {

/// Handles SIGBUS from now on; called once, by the program.
void guard_mapped_files();

/// Throws Error naming the first mapped file that became unreadable. A look at a flag otherwise.
void check_mapped_files();

/// A mapping begins or ends to exist; `name` is what an error calls it.
void guard_mapping(std::span<const std::byte> mapping, const std::string& name);
void forget_mapping(std::span<const std::byte> mapping);

/// Makes the rest of the guarded mapping that holds `address` zeros, and has `check_mapped_files`
/// tell. False if there is none. For what the system reads in the program's stead.
bool give_up_mapping_from(const void* address);

}  // namespace moebius
