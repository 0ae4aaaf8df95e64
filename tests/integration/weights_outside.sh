# Weights by the libraries that they are for: torchscale's RetNetDecoder, both ways, and fla's RetNetForCausalLM, without a
# GPU with PyTorch in the place of its kernels. The Python that $RETAIN_PYTHON names has PyTorch, safetensors, and torchscale with what it needs
# (`pip install --no-deps torchscale==0.3.0 fairscale timm==0.6.13 pillow torchvision`), or transformers and flash-linear-attention.
. "$(dirname "$0")/common.sh"

python=${RETAIN_PYTHON:-python3}
script=$source_dir/tests/integration/weights_outside.py
has() { "$python" "$script" has "$1" >has.txt 2>&1; }
has torchscale || has fla || { cat has.txt; echo "skipped: $python has neither torchscale nor fla"; exit 77; }

torchscale_model='model={layers: 2, hidden_size: 32, heads: 4, ffn_size: 48, vocab_size: 257, init_std: 0.1,
  rotary: torchscale, group_norm_eps: rowsum'
if has torchscale; then
  for kind in 'ffn: geglu}' 'ffn: swiglu, group_norm_affine: false, tie_embeddings: true, embedding_norm: true}'; do
    rm -rf ts ts-run golden
    "$retain" train tiny.yaml --resume never --set run.dir=ts-run --set "$torchscale_model, $kind" >train.log 2>&1 || fail "$(cat train.log)"
    "$retain" checkpoint export ts-run --format torchscale --out ts >/dev/null 2>export.log || fail "$(cat export.log)"
    "$python" "$script" torchscale ts golden
    "$retain" checkpoint check golden --precision fp32 >check.txt || fail "$(grep FAIL check.txt)"
    "$retain" checkpoint check golden --device cpu --precision fp64 >check.txt || fail "$(grep FAIL check.txt)"
  done
  # One that torchscale's own code has made.
  "$python" "$script" make-torchscale theirs
  "$retain" checkpoint check theirs --precision fp32 >check.txt || fail "$(grep FAIL check.txt)"
  "$retain" checkpoint import theirs --out theirs-run --tokenizer bytes >/dev/null 2>import.log || fail "$(cat import.log)"
  "$retain" checkpoint export theirs-run --format torchscale --out theirs-again >/dev/null 2>&1
  "$python" "$script" same theirs theirs-again
fi
if has fla; then
  for tied in false true; do
    rm -rf hf run golden
    "$retain" train tiny.yaml --resume never --set "model.tie_embeddings=$tied" --set model.hidden_size=128 >train.log 2>&1 || fail "$(cat train.log)"
    "$retain" checkpoint export run --format hf --out hf >/dev/null 2>export.log || fail "$(cat export.log)"
    "$python" "$script" fla hf golden
    "$retain" checkpoint check golden --precision fp32 >check.txt || fail "$(grep FAIL check.txt)"
  done
fi
