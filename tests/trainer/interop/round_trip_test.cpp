// Weights leave as other libraries want them, come back, and are the same bytes when they leave again; a model gets
// them from a checkpoint of any mesh, or from a folder, on any number of tp ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <vector>

#include "kernels/core/random.h"
#include "tests/support/ranks.h"
#include "tests/trainer/checkpoint/fixture.h"
#include "tests/trainer/data/token_files.h"
#include "trainer/checkpoint/block_copies.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/inspect.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/inference/weight_source.h"
#include "trainer/interop/file_checksums.h"
#include "trainer/interop/import_run.h"
#include "trainer/interop/model_config_json.h"
#include "trainer/interop/model_config_writer.h"
#include "trainer/interop/model_export.h"
#include "trainer/model/host_values.h"
#include "trainer/new_folder.h"
#include "trainer/selftest/tiny_run.h"

namespace retain::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A model that the layout has; `tied` embeddings, and a size of which no tp cut is a multiple of a block.
ModelConfig model_for(ForeignLayout layout, bool tied) {
  ModelConfig model = tiny_config("").model;
  model.tie_embeddings = tied;
  if (layout == ForeignLayout::kTorchscale) {
    model.rotary = Rotary::kTorchscale;
    model.group_norm_eps = GroupNormEps::kRowsum;
    model.ffn = FfnKind::kGeglu;
    model.embedding_norm = true;
    model.embedding_scale = std::sqrt(static_cast<double>(model.hidden_size));
  }
  return model;
}

float value_of(const std::string& tensor, int64_t row, int64_t column) {
  return static_cast<float>(philox_normal(stream_key(7, tensor), static_cast<uint64_t>(row * 10'000 + column)));
}

/// Fills the masters of a share; the moments are as they are.
void fill(const std::vector<TensorPlacement>& placements, const ReplicaShare& share, std::vector<float>& masters) {
  for (const ShareBox& part : boxes_of_share(placements, share)) {
    const TensorPlacement& p = placements[static_cast<size_t>(part.placement)];
    for (int64_t i = 0; i < part.box.elements(); ++i) {
      masters[static_cast<size_t>(part.offset + i)] =
          value_of(p.name, part.box.first_row + i / part.box.columns, part.box.first_column + i % part.box.columns);
    }
  }
}

/// A step of a run of `mesh`, whose weights do not depend on it.
void save(const ModelConfig& model, const MeshShape& mesh, const std::string& run, int64_t step = 3) {
  run_ranks(mesh.ranks(), [&](Communicator& host) {
    const MeshCoordinate at = coordinate_of(mesh, host.rank());
    const int replicas = mesh.dp * mesh.cp;
    const ParameterLayout layout(model, at.tp, mesh.tp, replicas);
    const ReplicaShare share = replica_share(layout.buckets, at.dp * mesh.cp + at.cp, replicas);
    const std::vector<TensorPlacement> placements = placements_of(layout, at.tp);
    std::vector<float> masters(static_cast<size_t>(share.size())), moments(masters.size(), 0.5F);
    fill(placements, share, masters);
    const auto view = [&](std::vector<float>& values) {
      return TensorView(values.data(), DType::kFloat32, {share.size()});
    };
    RunState state;
    state.step = step;
    state.mesh = mesh;
    CheckpointWriter writer(host, run, {.keep = 10});
    const SaveResult saved = writer.save(
        state, placements, {.share = share, .master = view(masters), .m = view(moments), .v = view(moments)});
    if (!saved.committed) throw Error(saved.kind, saved.message);
  });
}

Checkpoint newest(const std::string& run) { return open_unverified(run); }

constexpr ForeignText kText{.seq_len = 64, .end_of_document = 256};

/// Exports what a run holds into a new folder and gives all its files.
std::map<std::string, std::string> exported(const std::string& run, const ModelConfig& model,
                                            const ExportFormat& format, const std::string& folder) {
  fs::create_directories(folder);
  const Checkpoint checkpoint = newest(run);
  export_model(*weights_of(checkpoint), model, kText, format, folder);
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) files[entry.path().filename()] = read_file(entry.path());
  return files;
}

/// A folder in memory: nothing here is about disks.
class Folder {
 public:
  std::string file(const std::string& name) const { return (directory_.path() / name).string(); }
  bool empty() const { return fs::is_empty(directory_.path()); }

 private:
  TemporaryDirectory directory_{TemporaryDirectory::Where::kMemory};
};

struct Case {
  ForeignLayout layout;
  DType dtype;
  bool sharded, tied;
};

class RoundTrip : public testing::TestWithParam<Case> {
 protected:
  Folder folder_;
};

TEST_P(RoundTrip, ExportsAgainTheSameBytesFromWhateverMesh) {
  const Case& c = GetParam();
  const ModelConfig model = model_for(c.layout, c.tied);
  const ExportFormat format{.layout = c.layout, .dtype = c.dtype, .shard_bytes = c.sharded ? 20'000 : 5'000'000'000};
  save(model, {2, 1, 2}, folder_.file("run"));
  const auto first = exported(folder_.file("run"), model, format, folder_.file("first"));
  EXPECT_EQ(first.contains("model.safetensors"), !c.sharded);
  EXPECT_EQ(first.size() > 4, c.sharded);

  save(model, {1, 1, 1}, folder_.file("alone"));
  EXPECT_EQ(exported(folder_.file("alone"), model, format, folder_.file("of-alone")), first);

  const ImportedModel imported = read_model_folder(folder_.file("first"));
  EXPECT_EQ(imported.text(), kText);
  write_first_step(*weights_of(imported), imported.config(), {}, folder_.file("imported"));
  EXPECT_TRUE(verify_step(find_steps(folder_.file("imported")).front().path).problems.empty());
  EXPECT_EQ(exported(folder_.file("imported"), imported.config(), format, folder_.file("again")), first);
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const ForeignLayout layout : {ForeignLayout::kFla, ForeignLayout::kTorchscale}) {
    for (const DType dtype : {DType::kFloat32, DType::kBfloat16}) {
      for (const bool sharded : {false, true}) {
        for (const bool tied : {false, true}) cases.push_back({layout, dtype, sharded, tied});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Formats, RoundTrip, testing::ValuesIn(all_cases()), [](const auto& param) {
  const Case& c = param.param;
  return concat(foreign_layout_name(c.layout), c.dtype == DType::kFloat32 ? "_fp32" : "_bf16",
                c.sharded ? "_sharded" : "", c.tied ? "_tied" : "");
});

class Exports : public testing::Test {
 protected:
  Folder folder_;
  std::string run() const { return folder_.file("run"); }
};

TEST_F(Exports, NameTheirWeightsByWhatTheyAre) {
  const ModelConfig model = model_for(ForeignLayout::kFla, false);
  save(model, {1, 1, 1}, run());
  fs::create_directories(folder_.file("one"));
  const Checkpoint checkpoint = newest(run());
  const ExportedWeights one = export_model(*weights_of(checkpoint), model, kText, {}, folder_.file("one"));
  std::string lines;
  for (const TensorDigest& tensor : compute_digest(checkpoint).tensors)
    lines += concat(tensor.name, " ", to_hex(tensor.states[0]), "\n");
  EXPECT_EQ(one.digest, to_hex(checksum(lines.data(), static_cast<int64_t>(lines.size()))));
  const ImportedModel imported = read_model_folder(folder_.file("one"));
  fs::create_directories(folder_.file("two"));
  EXPECT_EQ(export_model(*weights_of(imported), imported.config(), kText, {}, folder_.file("two")).digest, one.digest);
}

TEST_F(Exports, FoldTheHeadNormIntoTorchscalesOutput) {
  ModelConfig model = model_for(ForeignLayout::kTorchscale, false);
  model.group_norm_affine = true;
  save(model, {1, 1, 1}, run());
  exported(run(), model, {.layout = ForeignLayout::kTorchscale}, folder_.file("out"));
  const ImportedModel imported = read_model_folder(folder_.file("out"));
  EXPECT_FALSE(imported.config().group_norm_affine);
  const std::string layer = "layers.1.retention.";
  const std::vector<float> output = imported.read(layer + "o_proj.weight");
  const int64_t columns = model.heads * model.value_dim();
  for (int64_t row : {0, 5, 31}) {
    for (int64_t column = 0; column < columns; ++column) {
      EXPECT_EQ(output[static_cast<size_t>(row * columns + column)],
                value_of(layer + "o_proj.weight", row, column) *
                    value_of(layer + "group_norm.weight", column % model.value_dim(), 0));
    }
  }
}

TEST_F(Exports, RefuseByKeyWhatCannotBeExact) {
  const auto expect = [](ForeignLayout layout, const std::string& key, const auto& change) {
    ModelConfig model = model_for(layout, false);
    EXPECT_NO_THROW(refuse_inexact(model, layout));
    change(model);
    EXPECT_THAT(message_of(ErrorKind::kConfig, [&] { refuse_inexact(model, layout); }),
                HasSubstr("model." + key + ":"));
  };
  for (const ForeignLayout layout : {ForeignLayout::kFla, ForeignLayout::kTorchscale}) {
    const bool fla = layout == ForeignLayout::kFla;
    expect(layout, "decay", [](ModelConfig& m) { m.decay = Decay::kPaperExp; });
    expect(layout, "head_norm_eps", [](ModelConfig& m) { m.head_norm_eps = 1e-3; });
    expect(layout, "rotary", [&](ModelConfig& m) { m.rotary = fla ? Rotary::kTorchscale : Rotary::kRope; });
    expect(layout, "group_norm_eps",
           [&](ModelConfig& m) { m.group_norm_eps = fla ? GroupNormEps::kRowsum : GroupNormEps::kConst; });
    expect(layout, "ffn", [](ModelConfig& m) { m.ffn = FfnKind::kGelu; });
    expect(layout, "embedding_scale", [](ModelConfig& m) { m.embedding_scale = 2; });
  }
  expect(ForeignLayout::kFla, "embedding_norm", [](ModelConfig& m) { m.embedding_norm = true; });
  expect(ForeignLayout::kFla, "heads", [](ModelConfig& m) {
    m.hidden_size = 512;
    m.heads = 1;
  });
  expect(ForeignLayout::kTorchscale, "key_expansion", [](ModelConfig& m) { m.key_expansion = 0.5; });
  EXPECT_THAT(message_of(ErrorKind::kConfig,
                         [] { refuse_inexact(model_for(ForeignLayout::kTorchscale, false), ForeignLayout::kFla); }),
              HasSubstr("--format torchscale has it"));
}

TEST_F(Exports, OfAnotherDecayAreNotImported) {
  const ModelConfig model = model_for(ForeignLayout::kTorchscale, true);
  save(model, {1, 1, 1}, run());
  exported(run(), model, {.layout = ForeignLayout::kTorchscale}, folder_.file("out"));
  const std::string path = folder_.file("out/model.safetensors");
  const SafetensorsFile file(path);
  std::map<std::string, std::vector<std::byte>> bytes;
  std::vector<SafetensorsTensor> tensors;
  for (const SafetensorsEntry& entry : file.entries()) bytes[entry.name] = file.read_bytes(entry.name);
  bytes["retnet_rel_pos.decay"][7] = std::byte{0x40};  // the exponent of the second head's
  for (const SafetensorsEntry& entry : file.entries())
    tensors.push_back({entry.name, entry.dtype, entry.shape, bytes.at(entry.name)});
  write_safetensors(path, tensors);
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_model_folder(folder_.file("out")); }),
              HasSubstr("'retnet_rel_pos.decay' has"));
}

TEST_F(Exports, AreThereWholeOrNotAtAll) {
  const std::string out = folder_.file("out");
  {
    const NewFolder folder(out + "/");
    write_file(folder.temporary() / "half", "x");
    EXPECT_FALSE(fs::exists(out));
  }
  EXPECT_TRUE(folder_.empty()) << "what was not published is gone";
  fs::create_directory(out);
  NewFolder folder(out);  // an empty one is no obstacle
  write_file(folder.temporary() / "whole", "x");
  folder.publish();
  EXPECT_TRUE(fs::exists(out + "/whole"));
  EXPECT_THAT(message_of(ErrorKind::kCannotCreate, [&] { NewFolder another(out); }), HasSubstr("is not empty"));
  EXPECT_THAT(message_of(ErrorKind::kCannotCreate, [&] { NewFolder another(out + "/whole"); }), HasSubstr("no folder"));
  EXPECT_EQ(std::distance(fs::directory_iterator(out), {}), 1);
}

TEST_F(Exports, HaveANameAndTakeNoMountPointsPlace) {
  EXPECT_THAT(message_of(ErrorKind::kUsage, [] { const NewFolder folder(""); }), HasSubstr("needs a name"));
  std::ifstream mounts("/proc/self/mounts");
  std::string device, path, rest;
  while (mounts >> device >> path && std::getline(mounts, rest)) {
    struct stat here = {}, above = {};
    std::error_code error;
    if (path == "/" || !fs::is_directory(path, error) || !fs::is_empty(path, error) || error) continue;
    if (::stat(path.c_str(), &here) != 0 || ::stat(fs::path(path).parent_path().c_str(), &above) != 0) continue;
    if (here.st_dev == above.st_dev) continue;  // something else is mounted over it
    EXPECT_THAT(message_of(ErrorKind::kCannotCreate, [&] { const NewFolder folder(path); }),
                HasSubstr("name a folder in it"));
    return;
  }
  GTEST_SKIP() << "no empty folder is a mount point here";
}

TEST_F(Exports, AreNotWhatTheyWereWhenAByteOfAFileIsAnother) {
  const ModelConfig model = model_for(ForeignLayout::kFla, false);
  save(model, {1, 1, 1}, run());
  const std::string out = folder_.file("out");
  exported(run(), model, {.shard_bytes = 20'000}, out);
  write_file(out + "/vocab.json", "{}");  // the tokenizer has a fingerprint of its own
  const FileChecksums want = checksums_of_export(out);
  EXPECT_EQ(static_cast<size_t>(std::distance(fs::directory_iterator(out), {})), want.size() + 1);
  EXPECT_NO_THROW(verify_files(out, want));
  for (const auto& [name, digest] : want) {
    const std::string path = concat(out, "/", name), whole = read_file(path);
    EXPECT_EQ(digest, to_hex(checksum(whole.data(), static_cast<int64_t>(whole.size()))));
    std::string damaged = whole;
    damaged[whole.size() - 2] ^= 1;
    write_file(path, damaged);
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { verify_files(out, want); }), HasSubstr(path + ": is not what was"));
    fs::remove(path);
    EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { verify_files(out, want); }), HasSubstr(path));
    write_file(path, whole);
  }
  EXPECT_THAT(message_of(ErrorKind::kData,
                         [&] {
                           verify_files(out, {{"../run/latest", ""}});
                         }),
              HasSubstr("no file's name"));
}

/// fla computes int(hidden_size * expand_v), and cuts off what a rounding makes of 784.
TEST_F(Exports, GiveFlaTheWidthsThatItCutsOff) {
  for (const int64_t width : {784, 776, 352, 176}) {
    ModelConfig model = model_for(ForeignLayout::kFla, false);
    model.hidden_size = 352;
    model.heads = 8;
    model.value_expansion = static_cast<double>(width) / 352;
    const std::string text = format_foreign_config(model, ForeignLayout::kFla, kText, DType::kFloat32);
    const auto config = nlohmann::json::parse(text);
    EXPECT_EQ(static_cast<int64_t>(352 * config.at("expand_v").get<double>()), width);
    EXPECT_EQ(parse_foreign_config(text, "").model.value_dim(), width / 8);
  }
}

TEST_F(Exports, AnIndexSaysWhatItsFilesHold) {
  const ModelConfig model = model_for(ForeignLayout::kFla, false);
  save(model, {1, 1, 1}, run());
  const std::string out = folder_.file("out");
  exported(run(), model, {.shard_bytes = 20'000}, out);
  const std::string index_path = out + "/" + kIndexFileName, index = read_file(index_path);
  const auto refusal_with = [&](const std::string& from, const std::string& to) {
    std::string text = index;
    text.replace(text.find(from), from.size(), to);
    write_file(index_path, text);
    return message_of(ErrorKind::kData, [&] { read_model_folder(out); });
  };
  EXPECT_THAT(refusal_with("\"weight_map\"", "\"weights\""), HasSubstr("weight_map"));
  EXPECT_THAT(refusal_with("model-00001-of", "../model-00001-of"), HasSubstr("want the name of a file"));
  EXPECT_THAT(refusal_with("model-00001-of", "model-00002-of"), HasSubstr("which it does not"));
  EXPECT_THAT(refusal_with("    \"lm_head.weight\"", "    \"lm_head\""), HasSubstr("which it does not"));
  write_file(index_path, index);
  fs::remove(out + "/" +
             weights_shard_name(0, static_cast<size_t>(std::distance(fs::directory_iterator(out), {}) - 2)));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { read_model_folder(out); }), HasSubstr("model-00001-of"));
}

// ---- loading ----

/// Weights that a tp rank was given, under the names of its parameters.
std::map<std::string, std::vector<double>> loaded(const WeightSource& source, const ModelConfig& model, int tp_rank,
                                                  int tp, DType compute = DType::kFloat32) {
  const auto backend = make_cpu_backend(1);
  ParameterStore parameters(*backend, ParameterLayout(model, tp_rank, tp, 1), compute, ReplicaShare(),
                            Residency::kInference);
  load_weights(source, *backend, parameters, 2);
  std::map<std::string, std::vector<double>> values;
  for (const ParameterSpec& spec : parameters.layout().parameters)
    values[spec.name] = download_wide(*backend, parameters.weight(spec.name));
  return values;
}

void expect_whole(const std::map<std::string, std::vector<double>>& values, const ModelConfig& model, int tp_rank,
                  int tp) {
  for (const ParameterSpec& spec : ParameterLayout(model, tp_rank, tp, 1).parameters) {
    std::vector<double> want(values.at(spec.name).size());  // padding is zero
    for (int64_t i = 0; i < spec.real_rows * spec.columns; ++i) {
      want[static_cast<size_t>(i)] =
          value_of(spec.name, spec.first_row + i / spec.columns, spec.first_column + i % spec.columns);
    }
    EXPECT_EQ(values.at(spec.name), want) << spec.name << " of tp rank " << tp_rank;
  }
}

class Loading : public Exports {};

TEST_F(Loading, GivesEveryTpRankItsPartOfACheckpointOfAnotherMesh) {
  const ModelConfig model = model_for(ForeignLayout::kTorchscale, false);
  save(model, {3, 1, 2}, run());
  const Checkpoint checkpoint = newest(run());
  for (const int tp : {1, 2, 4}) {
    for (int rank = 0; rank < tp; ++rank)
      expect_whole(loaded(*weights_of(checkpoint), model, rank, tp), model, rank, tp);
  }
  expect_whole(loaded(*weights_of(checkpoint), model, 0, 1, DType::kFloat64), model, 0, 1);
}

TEST_F(Loading, GivesEveryTpRankItsPartOfAFolder) {
  for (const ForeignLayout layout : {ForeignLayout::kFla, ForeignLayout::kTorchscale}) {
    ModelConfig model = model_for(layout, false);
    model.group_norm_affine = layout == ForeignLayout::kFla;
    const std::string name = foreign_layout_name(layout);
    save(model, {1, 1, 1}, folder_.file("run-" + name));
    exported(folder_.file("run-" + name), model, {.layout = layout, .shard_bytes = 20'000}, folder_.file(name));
    const ImportedModel folder = read_model_folder(folder_.file(name));
    for (const int tp : {1, 4}) {
      for (int rank = 0; rank < tp; ++rank) expect_whole(loaded(*weights_of(folder), model, rank, tp), model, rank, tp);
    }
  }
}

/// Changes a byte of a file.
void spoil(const fs::path& file, int64_t offset) {
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(offset);
  const char other = static_cast<char>(bytes.get() ^ 1);
  bytes.seekp(offset);
  bytes.put(other);
}

TEST_F(Loading, ReadsAndVerifiesTheMastersBlocksAlone) {
  ModelConfig model = model_for(ForeignLayout::kFla, false);
  model.vocab_size = 60'000;  // 7.7 MB of each state: blocks of 4 MiB that hold nothing else
  save(model, {1, 1, 1}, run(), 3);
  save(model, {1, 1, 1}, run(), 4);
  const Checkpoint checkpoint = newest(run());
  const ShardRecord& shard = checkpoint.manifest().shards.front();
  const auto head = std::find_if(shard.boxes.begin(), shard.boxes.end(),
                                 [](const StoredBox& box) { return box.tensor == "lm_head.weight"; });
  const auto middle = [&](size_t state) { return head->file_offset[state] + head->box.elements() * 2; };
  const fs::path file = checkpoint.path() / shard.file.name;

  std::vector<std::string> said;
  int64_t step = 0;
  const auto load = [&] {
    std::map<std::string, std::vector<double>> values;
    step = open_and_read(run(), [&](const std::string& line) { said.push_back(line); },
                         {.read = [&](const Checkpoint& c) { values = loaded(*weights_of(c), model, 0, 1); }})
               .state()
               .step;
    expect_whole(values, model, 0, 1);
  };
  spoil(file, middle(1));  // a moment, which nobody needs
  load();
  EXPECT_EQ(step, 4);
  EXPECT_TRUE(said.empty());
  spoil(file, middle(0));
  load();
  EXPECT_EQ(step, 3) << "the older step";
  ASSERT_EQ(said.size(), 1U);
  EXPECT_THAT(said.front(), HasSubstr("lm_head.weight master"));

  // Of two tp ranks each reads its half of the rows.
  const auto blocks_of = [&](int tp) {
    const ParameterLayout layout(model, 0, tp, 1);
    const ReplicaShare share(layout.buckets);
    std::vector<float> masters(static_cast<size_t>(share.size()));
    const TensorView view(masters.data(), DType::kFloat32, {share.size()});
    const BlockCopies copies(checkpoint.manifest(), placements_of(layout, 0),
                             {.share = share, .master = view, .m = {}, .v = {}});
    return checkpoint.needed_blocks(copies, 1).size();
  };
  EXPECT_LT(blocks_of(2), blocks_of(1));
}

}  // namespace
}  // namespace retain::test
