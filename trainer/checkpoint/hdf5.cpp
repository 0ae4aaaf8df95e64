#include "trainer/checkpoint/hdf5.h"

#include <hdf5.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>
#include <numeric>
#include <set>
#include <utility>

#include "trainer/file.h"

namespace retain {

namespace {

// The innermost entry of libhdf5's error stack: the reason, in its words.
std::string hdf5_reason() {
  std::string reason;
  const auto keep_last = [](unsigned, const H5E_error2_t* entry, void* text) -> herr_t {
    *static_cast<std::string*>(text) = concat(entry->func_name, ": ", entry->desc);
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_last, &reason);
  return reason.empty() ? "unknown reason" : reason;
}

template <class Result>
Result check(Result result, const char* call, const std::string& what) {
  if (result < 0) throw Error(ErrorKind::kIo, concat("HDF5: ", call, " of ", what, " failed: ", hdf5_reason()));
  return result;
}

// Owns one libhdf5 identifier; move-only; the destructor ignores failures (no data of ours depends on it).
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const char* call, const std::string& what)
      : id_(check(id, call, what)), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  operator hid_t() const { return id_; }
  void close(const std::string& what) { check(close_(std::exchange(id_, -1)), "close", what); }

 private:
  hid_t id_;
  Close close_;
};

Handle make_properties(hid_t kind) { return {H5Pcreate(kind), H5Pclose, "H5Pcreate", "properties"}; }

Handle make_space(const std::vector<int64_t>& shape, const std::string& what) {
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), H5Sclose, "H5Screate_simple", what};
}

void write_attribute(hid_t object, const char* name, const std::vector<int64_t>& values, bool scalar) {
  const Handle space = scalar ? Handle(H5Screate(H5S_SCALAR), H5Sclose, "H5Screate", name)
                              : make_space({static_cast<int64_t>(values.size())}, name);
  const Handle attribute(H5Acreate2(object, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                         "H5Acreate2", name);
  check(H5Awrite(attribute, H5T_NATIVE_INT64, values.data()), "H5Awrite", name);
}

hid_t file_type(DType dtype) {
  RETAIN_CHECK(dtype == DType::kFloat32 || dtype == DType::kFloat64, "checkpoints of ", dtype_name(dtype));
  return dtype == DType::kFloat64 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
}

// A file that is being laid out, and the groups made so far.
class Layout {
 public:
  Layout(const std::string& path, hid_t access, H5F_libver_t oldest, int64_t step)
      : create_(make_properties(H5P_FILE_CREATE)),
        group_(make_properties(H5P_GROUP_CREATE)),
        file_((check(H5Pset_obj_track_times(create_, false), "H5Pset_obj_track_times", path),
               check(H5Pset_libver_bounds(access, oldest, H5F_LIBVER_V110), "H5Pset_libver_bounds", path),
               H5Fcreate(path.c_str(), H5F_ACC_TRUNC, create_, access)),
              H5Fclose, "H5Fcreate", path) {
    check(H5Pset_obj_track_times(group_, false), "H5Pset_obj_track_times", path);
    write_attribute(file_, "step", {step}, true);
  }

  hid_t file() const { return file_; }
  void close() { file_.close("file"); }

  Handle add_dataset(const std::string& path, DType dtype, const std::vector<int64_t>& shape, hid_t properties) {
    for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      const std::string group = path.substr(0, slash);
      if (!groups_.insert(group).second) continue;
      Handle(H5Gcreate2(file_, group.c_str(), H5P_DEFAULT, group_, H5P_DEFAULT), H5Gclose, "H5Gcreate2", group);
    }
    check(H5Pset_obj_track_times(properties, false), "H5Pset_obj_track_times", path);
    return {H5Dcreate2(file_, path.c_str(), file_type(dtype), make_space(shape, path), H5P_DEFAULT, properties,
                       H5P_DEFAULT),
            H5Dclose, "H5Dcreate2", path};
  }

 private:
  Handle create_, group_, file_;
  std::set<std::string> groups_;
};

// Before any other call. At the end of the program libhdf5 does nothing: it would crash over a file whose close failed.
// Errors become exceptions with the reason, which libhdf5 need not print: a setting of the calling thread.
void prepare_hdf5() {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

int64_t element_count(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

}  // namespace

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "";
  return concat(major, ".", minor, ".", release);
}

std::vector<int64_t> coordinates(int64_t row, int64_t column, size_t dims) {
  return dims == 1 ? std::vector<int64_t>{row} : std::vector<int64_t>{row, column};
}

ShardSkeleton make_shard_skeleton(DType dtype, int64_t step, const std::vector<ShardDataset>& datasets) {
  prepare_hdf5();
  // An anonymous file in memory. Space for the data is only reserved: the file has holes there and takes no memory.
  File memory(::memfd_create("retain-shard", MFD_CLOEXEC), "shard skeleton in memory");
  if (memory.descriptor() < 0) throw_errno(ErrorKind::kIo, "memfd_create", "shard skeleton", errno);
  const std::string path = "/proc/self/fd/" + std::to_string(memory.descriptor());

  const Handle access = make_properties(H5P_FILE_ACCESS);
  // The driver that opens by name and does not ask for a real path, which such a file has not.
  check(H5Pset_fapl_stdio(access), "H5Pset_fapl_stdio", path);
  check(H5Pset_file_locking(access, false, true), "H5Pset_file_locking", path);
  const Handle contiguous = make_properties(H5P_DATASET_CREATE);
  check(H5Pset_layout(contiguous, H5D_CONTIGUOUS), "H5Pset_layout", path);
  check(H5Pset_alloc_time(contiguous, H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
  check(H5Pset_fill_time(contiguous, H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);

  ShardSkeleton skeleton;
  Layout layout(path, access, H5F_LIBVER_V110, step);
  for (const ShardDataset& d : datasets) {
    const Handle dataset = layout.add_dataset(d.path, dtype, d.shape, contiguous);
    write_attribute(dataset, "global_shape", d.global_shape, false);
    write_attribute(dataset, "offset", d.offset, false);
    const haddr_t offset = H5Dget_offset(dataset);
    if (offset == HADDR_UNDEF) throw Error(ErrorKind::kIo, concat("HDF5: no place for ", d.path, ": ", hdf5_reason()));
    skeleton.data_offsets.push_back(static_cast<int64_t>(offset));
  }
  layout.close();
  skeleton.file_bytes = File::open_input(path).bytes();

  // Metadata is what lies between the data.
  std::vector<std::pair<int64_t, int64_t>> extents;  // of the data: offset, bytes
  for (size_t i = 0; i < datasets.size(); ++i) {
    extents.emplace_back(skeleton.data_offsets[i], element_count(datasets[i].shape) * dtype_bytes(dtype));
  }
  extents.emplace_back(skeleton.file_bytes, 0);
  std::sort(extents.begin(), extents.end());
  int64_t at = 0;
  for (const auto& [offset, bytes] : extents) {
    RETAIN_CHECK(offset >= at, "HDF5 laid data out at ", offset, " inside other data that ends at ", at);
    if (offset > at) {
      skeleton.metadata.push_back({at, std::vector<char>(static_cast<size_t>(offset - at))});
      memory.read(skeleton.metadata.back().bytes.data(), offset - at, at);
    }
    at = offset + bytes;
  }
  RETAIN_CHECK(at == skeleton.file_bytes, "HDF5's file has ", skeleton.file_bytes, " bytes, data ends at ", at);
  return skeleton;
}

std::vector<char> make_global_view(DType dtype, int64_t step, const std::vector<ViewDataset>& datasets) {
  prepare_hdf5();
  const Handle access = make_properties(H5P_FILE_ACCESS);
  check(H5Pset_fapl_core(access, size_t{1} << 20, false), "H5Pset_fapl_core", "global view");
  // The newest superblock is checksummed, and H5Fget_file_image changes a byte of it without mending the checksum.
  Layout layout("global view", access, H5F_LIBVER_EARLIEST, step);
  for (const ViewDataset& d : datasets) {
    const Handle properties = make_properties(H5P_DATASET_CREATE);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    check(H5Pset_fill_value(properties, H5T_NATIVE_DOUBLE, &nan), "H5Pset_fill_value", d.path);
    const Handle whole = make_space(d.global_shape, d.path);
    for (const ViewDataset::Source& s : d.sources) {
      const std::vector<hsize_t> offset(s.offset.begin(), s.offset.end()), shape(s.shape.begin(), s.shape.end());
      check(H5Sselect_hyperslab(whole, H5S_SELECT_SET, offset.data(), nullptr, shape.data(), nullptr),
            "H5Sselect_hyperslab", d.path);
      const Handle source = make_space(s.shape, s.path);
      check(H5Pset_virtual(properties, whole, s.file.c_str(), s.path.c_str(), source), "H5Pset_virtual", d.path);
    }
    layout.add_dataset(d.path, dtype, d.global_shape, properties);
  }
  check(H5Fflush(layout.file(), H5F_SCOPE_GLOBAL), "H5Fflush", "global view");
  const ssize_t bytes = check(H5Fget_file_image(layout.file(), nullptr, 0), "H5Fget_file_image", "global view");
  std::vector<char> image(static_cast<size_t>(bytes));
  check(H5Fget_file_image(layout.file(), image.data(), image.size()), "H5Fget_file_image", "global view");
  layout.close();
  return image;
}

}  // namespace retain
