// The only user of libhdf5. It never writes to the checkpoint's disk: libhdf5 crashes or reports success when a disk
// fills up, so it lays files out in memory and we write the bytes ourselves. Nor does a resume parse HDF5.
// Files use the 1.10 format (h5py and every tool since 2016 read it), no locks and no time stamps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"

namespace retain {

/// "1.10.8", of the library that is loaded.
std::string hdf5_version();

/// A place in a dataset, or its shape: a vector's dataset (dims = 1) has no columns.
std::vector<int64_t> coordinates(int64_t row, int64_t column, size_t dims);

/// A contiguous dataset of a shard: a box of a whole tensor, with attributes global_shape and offset (int64).
struct ShardDataset {
  std::string path;  ///< "/param/layers.0.ffn.up_proj.weight/master"
  std::vector<int64_t> global_shape, offset, shape;
};

/// A file laid out but for its data.
struct ShardSkeleton {
  struct Piece {
    int64_t offset = 0;
    std::vector<char> bytes;
  };
  int64_t file_bytes = 0;
  std::vector<int64_t> data_offsets;  ///< where each dataset's elements lie in the file, row-major, little-endian
  std::vector<Piece> metadata;        ///< everything else, in order; data and metadata cover the file exactly
};

/// Lays out a shard. dtype is float32 or float64. Throws Error(kIo) with libhdf5's reason.
ShardSkeleton make_shard_skeleton(DType dtype, int64_t step, const std::vector<ShardDataset>& datasets);

/// A whole tensor put together from datasets of other files in the same folder.
struct ViewDataset {
  struct Source {
    std::string file, path;
    std::vector<int64_t> offset, shape;
  };
  std::string path;
  std::vector<int64_t> global_shape;
  std::vector<Source> sources;
};

/// The bytes of a file in which each tensor is a virtual dataset; elements whose source file is missing read as NaN.
std::vector<char> make_global_view(DType dtype, int64_t step, const std::vector<ViewDataset>& datasets);

}  // namespace retain
