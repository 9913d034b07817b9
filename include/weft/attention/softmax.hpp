#pragma once

/// Softmax attention: masks, scores and normalizers on one tiled engine.
#include <weft/attention/softmax/mask.hpp>
#include <weft/attention/softmax/merge.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/attention/softmax/normalizer.hpp>
#include <weft/attention/softmax/ragged.hpp>
#include <weft/attention/softmax/score.hpp>
#include <weft/attention/softmax/stream.hpp>
