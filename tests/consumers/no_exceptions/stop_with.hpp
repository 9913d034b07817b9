#pragma once

/// Prints the message and ends the program with exit code 0 when it is the expected one, else 1.
[[noreturn]] void stop_with(const char* message);
