"""Clients of `retain serve`: serve_client.py URL CHECK ARGUMENTS…"""
import http.client, json, random, socket, sys, threading, time, urllib.error, urllib.parse, urllib.request

url = sys.argv[1]
at = urllib.parse.urlparse(url)
address = (at.hostname, at.port)


def call(path, body=None):
    """Status and JSON (or text) of an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=60) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    return status, json.loads(text) if text.startswith("{") else text


def complete(**body):
    status, answer = call("/v1/completions", body)
    assert status == 200, (status, answer)
    return answer


def refused(status, param, **body):
    got, answer = call("/v1/completions", body)
    assert got == status and answer["error"]["message"] and answer["error"]["param"] == param, (body, got, answer)


def events(**body):
    """The events of a streamed answer, without the last one."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("POST", "/v1/completions", json.dumps(body | {"stream": True}))
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("Content-Type").startswith("text/event-stream")
    lines = [line for line in answer.read().decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines), lines
    parts = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
    assert lines[-1] == "data: [DONE]" or "error" in parts[-1], lines[-1]
    return parts


def metrics():
    status, text = call("/metrics")
    assert status == 200
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


def api():
    assert call("/health") == (200, {"status": "ok"})
    assert call("/v1/models")[1]["data"][0]["id"] == "run"
    assert call("/nowhere")[0] == 404 and call("/v1/completions")[0] == 405
    assert call("/v1/completions", b"{")[0] == 400 and call("/v1/completions", b"[]")[0] == 400
    assert call("/v1/completions", b"\xff\xfe")[0] == 400

    one = complete(prompt="abc def", max_tokens=12, temperature=0)
    assert one["object"] == "text_completion" and one["choices"][0]["logprobs"] is None
    assert one["usage"] == {"prompt_tokens": 7, "completion_tokens": 12, "total_tokens": 19}, one
    assert one["choices"][0]["finish_reason"] == "length"
    text = one["choices"][0]["text"]
    # The same as tokens, among other prompts, in pieces, and with what is in front of it.
    ids = list(b"abc def")
    several = complete(prompt=[list(b"xyz"), ids, [97]], max_tokens=12, temperature=0, n=2)
    assert [c["index"] for c in several["choices"]] == [0, 1, 2, 3, 4, 5]
    assert several["choices"][2]["text"] == several["choices"][3]["text"] == text
    assert complete(prompt=["abc def", "q"], max_tokens=12, temperature=0)["choices"][0]["text"] == text
    parts = events(prompt=ids, max_tokens=12, temperature=0, stream_options={"include_usage": True})
    assert "".join(c["text"] for e in parts for c in e["choices"]) == text
    assert len(events(prompt=ids, max_tokens=5000, temperature=0)) > 3  # which come as they are drawn
    assert parts[-1]["usage"]["completion_tokens"] == 12
    assert [c["finish_reason"] for e in parts for c in e["choices"]][-1] == "length"
    assert complete(prompt="abc def", max_tokens=12, temperature=0, echo=True)["choices"][0]["text"] == "abc def" + text
    assert complete(prompt="abc def", max_tokens=0, echo=True)["choices"][0]["text"] == "abc def"
    # A stop string ends before itself, across tokens, which here are bytes.
    stop = text[4:6]
    assert complete(prompt=ids, max_tokens=12, temperature=0, stop=stop)["choices"][0] | {"logprobs": 0} == {
        "index": 0, "text": text[: text.index(stop)], "logprobs": 0, "finish_reason": "stop"}
    assert "".join(c["text"] for e in events(prompt=ids, max_tokens=12, temperature=0, stop=[stop, "zz"]) for c in
                   e["choices"]) == text[: text.index(stop)]
    # Seeds.
    drawn = [complete(prompt=ids, max_tokens=16, seed=s)["choices"][0]["text"] for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    twice = [c["text"] for c in complete(prompt=ids, max_tokens=16, seed=1, n=2)["choices"]]
    assert twice == [drawn[0], drawn[2]]
    assert complete(prompt=ids, max_tokens=16, temperature=3, top_k=1)["choices"][0]["text"][:12] == text
    scored()

    refused(400, "temperature", prompt="a", temperature=-1)
    refused(400, "temperature", prompt="a", temperature="x")
    refused(400, "max_tokens", prompt="a", max_tokens=10**9)
    refused(400, "top_p", prompt="a", top_p=1.5)
    refused(400, "n", prompt="a", n=0)
    refused(400, "prompt", prompt=[97, 10**6])
    refused(400, "prompt", prompt=[[97], "a", {}])
    refused(400, "prompt", prompt=[97, -1])
    refused(400, "stop", prompt="a", stop=[""])
    refused(400, "logprobs", prompt="a", logprobs=True)
    refused(400, "frequency_penalty", prompt="a", frequency_penalty=0.5)
    refused(400, "colour", prompt="a", colour="red")
    assert complete(max_tokens=1)["usage"]["prompt_tokens"] == 1  # a document begins
    assert call("/tokenize", {"prompt": "abc"})[1] == {"count": 3, "tokens": [97, 98, 99]}
    assert call("/detokenize", {"tokens": [97, 256, 98]})[1] == {"prompt": "ab"}
    info = call("/tokenizer_info")[1]
    assert call("/tokenize", {"prompt": info["eos_token"]})[1]["tokens"] == [256]
    assert call("/v1/completions", b'{"prompt": "' + b"a" * 100_000 + b'"}')[0] == 413
    said = metrics()
    assert said['retain_serve_requests_total{path="/v1/completions",status="200"}'] >= 15, said
    assert said["retain_serve_requests"] == 0 and said["retain_serve_slots"] == 4
    assert said["retain_serve_drawn_tokens_total"] > 100 and said["retain_serve_request_seconds_count"] > 15


def scored():
    """What lm-evaluation-harness's local-completions asks for, and reads."""
    ids = list(b"abcdef ghi")
    body = {"prompt": [ids, ids[:4]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    for choice, prompt in zip(complete(**body)["choices"], body["prompt"]):
        logprobs = choice["logprobs"]
        values, tops = logprobs["token_logprobs"], logprobs["top_logprobs"]
        assert len(values) == len(tops) == len(logprobs["tokens"]) == len(logprobs["text_offset"]) == len(prompt) + 1
        assert values[0] is None and tops[0] is None
        assert all(len(top) == 1 and max(top.values()) >= value for top, value in zip(tops[1:], values[1:]))
        assert values[-1] == max(tops[-1].values())  # the one drawn is the likeliest
        assert "".join(logprobs["tokens"][:-1]) == bytes(prompt).decode()
        assert logprobs["text_offset"] == list(range(len(prompt) + 1))
    parts = events(prompt=ids, temperature=0, max_tokens=3, logprobs=2, echo=True)
    whole = complete(prompt=ids, temperature=0, max_tokens=3, logprobs=2, echo=True)["choices"][0]["logprobs"]
    for key in ("tokens", "token_logprobs", "text_offset"):
        assert sum((e["choices"][0]["logprobs"][key] for e in parts), []) == whole[key], key


def exchange(raw, half_close=True):
    """What comes back for these bytes."""
    with socket.create_connection(address, timeout=20) as client:
        try:
            client.sendall(raw)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return b""


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def malformed(pid, count):
    """So many requests, each a legal one that was changed by a seed; the server lives, and its memory is flat."""
    body = b'{"prompt": [97, 98, 99], "max_tokens": 2, "logprobs": 1, "echo": true, "stop": ["zz"], "seed": 5}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    seeds = [head % len(body) + body, b"GET /metrics HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
             head.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked") + b"5\r\n{\"pro\r\n0\r\n\r\n",
             b"POST /v1/completions HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x\r\n\r\n--",
             b"PUT /v1/completions HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde"]
    long = [b"Range: bytes=" + b"0-0," * 1000, b"A" * 10000, b"Cookie: " + b"a=b; " * 500, b"X: y\r\n" * 8000,
            b"Content-Length: 99999999999999999999999", b"Content-Length: -1", b"Content-Encoding: gzip",
            b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Accept-Encoding: gzip, br"]
    draw = random.Random(1)

    def mutated():
        raw = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(raw) + 1)
            kind = draw.randrange(6)
            if kind == 0:
                raw[place:place] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 40)))
            elif kind == 1:
                del raw[place:place + draw.randint(1, 30)]
            elif kind == 2 and place < len(raw):
                raw[place] ^= 1 << draw.randrange(8)
            elif kind == 3:
                raw[place:place] = raw[:draw.randrange(len(raw) + 1)]
            elif kind == 4 and b"\r\n" in raw:
                line = raw.index(b"\r\n") + 2
                raw[line:line] = draw.choice(long) + b"\r\n"
            else:
                raw[place:place] = draw.choice([b"[" * 200, b"1e999", b"null", b"\x00", b"\\ud800", b"{}", b"-1", b'"'])
            raw = raw or bytearray(b"x")
        return bytes(raw)

    requests = [mutated() for _ in range(count)]
    codes = {}
    lock = threading.Lock()

    def send(some):
        for raw in some:
            code = exchange(raw)[9:12].decode(errors="replace")
            with lock:
                codes[code] = codes.get(code, 0) + 1

    def send_all(some):
        threads = [threading.Thread(target=send, args=(some[i::4],)) for i in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]

    warm = count // 4
    send_all(requests[:warm])
    before = memory(pid)
    send_all(requests[warm:])
    grown = memory(pid) - before
    print("answers by code:", codes, "; grown by", grown, "KiB")
    assert sum(codes.values()) == count and not any(code.startswith("5") for code in codes), codes
    assert codes.get("400", 0) > count / 10, codes
    assert grown < 16 * 1024, f"{before} KiB before, {grown} more after"
    assert call("/health") == (200, {"status": "ok"})
    assert complete(prompt="abc", max_tokens=2)["usage"]["completion_tokens"] == 2


def clients(count, wanted):
    """So many at once; every one gets an answer, or a 429 or 503."""
    codes = []
    barrier = threading.Barrier(count)

    def one(i):
        barrier.wait()
        try:
            codes.append(call("/v1/completions", {"prompt": f"client {i}", "max_tokens": 3})[0])
        except Exception as error:
            codes.append(repr(error))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    found = {code: codes.count(code) for code in set(codes)}
    print("answers by code:", found)
    assert len(codes) == count and set(codes) <= {200, 429, 503} and found[200] >= int(wanted), found


def wait_for(what):
    for _ in range(200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def leavers():
    """Clients that go away free their slots, while they are read, wait, or are streamed to."""
    body = json.dumps({"prompt": "abc", "max_tokens": 16000, "temperature": 0, "stream": False}).encode()
    stream = body.replace(b"false", b"true")
    head = b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
    sockets = []
    for data in (body, stream) * 6:  # on four slots
        client = socket.create_connection(address)
        client.sendall(head % len(data) + data)
        sockets.append(client)
    wait_for(lambda: metrics()["retain_serve_requests"] == 12 and metrics()["retain_serve_sequences_active"] == 4)
    [client.close() for client in sockets]
    wait_for(lambda: metrics()["retain_serve_requests"] == 0 and metrics()["retain_serve_sequences_active"] == 0)
    assert complete(prompt="abc", max_tokens=2)


def under_way():
    wait_for(lambda: metrics()["retain_serve_requests"] > 0)


def endless():
    """Begins an answer that takes long, and prints how it ends."""
    parts = events(prompt="abc", max_tokens=int(sys.argv[3]), temperature=0)
    print(sum(len(c["text"]) for e in parts for c in e.get("choices", [])), "characters;", parts[-1])


check = sys.argv[2]
if check == "malformed":
    malformed(int(sys.argv[3]), int(sys.argv[4]))
elif check == "clients":
    clients(int(sys.argv[3]), int(sys.argv[4]))
else:
    globals()[check]()
