#pragma once

/// Softmax attention: masks, scores and normalizers on one tiled engine.
#include <weft/attention/softmax/categorical.hpp>
#include <weft/attention/softmax/clipped.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/gate.hpp>
#include <weft/attention/softmax/gated_output.hpp>
#include <weft/attention/softmax/kmeans.hpp>
#include <weft/attention/softmax/mask.hpp>
#include <weft/attention/softmax/merge.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/attention/softmax/normalizer.hpp>
#include <weft/attention/softmax/pattention.hpp>
#include <weft/attention/softmax/power.hpp>
#include <weft/attention/softmax/ragged.hpp>
#include <weft/attention/softmax/score.hpp>
#include <weft/attention/softmax/stream.hpp>
#include <weft/attention/softmax/top_k.hpp>
