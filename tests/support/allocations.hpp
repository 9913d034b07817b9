#pragma once

/// Number of calls of operator new so far, in the whole test program and by any thread.
long allocations() noexcept;
