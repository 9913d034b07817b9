#pragma once

/// The delta rule: recurrences that replace what a key stands for.
#include <weft/attention/delta/atlas.hpp>
#include <weft/attention/delta/delta_net.hpp>
#include <weft/attention/delta/memory_route.hpp>
#include <weft/attention/linear/gates.hpp>
#include <weft/attention/linear/stream.hpp>
