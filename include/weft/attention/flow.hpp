#pragma once

/// Flow-Attention, built on the engine of linear attention.
#include <weft/attention/flow/flow.hpp>
