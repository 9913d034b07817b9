#pragma once

/// Linear attention: mixers with a state of fixed size, one engine with policies. Mixers of images
/// and gated units have headers of their own.
#include <weft/attention/linear/cosine_feature.hpp>
#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/gated.hpp>
#include <weft/attention/linear/gates.hpp>
#include <weft/attention/linear/mixer.hpp>
#include <weft/attention/linear/norm_attention.hpp>
#include <weft/attention/linear/polynomial_feature.hpp>
#include <weft/attention/linear/projected_feature.hpp>
#include <weft/attention/linear/retention.hpp>
#include <weft/attention/linear/rotary_feature.hpp>
#include <weft/attention/linear/stream.hpp>
