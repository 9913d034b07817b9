#pragma once

/// Linear attention: mixers with a state of fixed size, one engine with policies.
#include <weft/attention/linear/gated.hpp>
#include <weft/attention/linear/gates.hpp>
#include <weft/attention/linear/mixer.hpp>
#include <weft/attention/linear/retention.hpp>
#include <weft/attention/linear/rotary_feature.hpp>
#include <weft/attention/linear/stream.hpp>
