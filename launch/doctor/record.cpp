#include "launch/doctor/record.h"

#include <future>
#include <memory>
#include <thread>

#include "kernels/core/error.h"
#include "launch/doctor/stage_clock.h"
#include "parallel/agreement.h"

namespace retain::checkup {

void Record::write_down(const std::string& group, const std::function<nlohmann::json()>& probe) {
  nlohmann::json facts;
  const Outcome done = attempt([&] { facts = probe(); });
  if (done.ok) {
    facts_[group] = std::move(facts);
  } else {
    failures_[group] = done.message;
  }
}

void Record::write_down_within(std::chrono::milliseconds limit, const std::string& group,
                               std::function<nlohmann::json()> probe) {
  const auto task = std::make_shared<std::packaged_task<nlohmann::json()>>(std::move(probe));
  std::future<nlohmann::json> facts = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (facts.wait_for(limit) != std::future_status::ready) {
    left_behind_ = true;
    return fail(group, concat("was not over after ", limit.count() / 1000, " s"));
  }
  write_down(group, [&] { return facts.get(); });
}

std::string Record::text() const { return nlohmann::json{{"facts", facts_}, {"failures", failures_}}.dump(); }

Record Record::read(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text);
  Record record;
  record.facts_ = json.at("facts").get<std::map<std::string, nlohmann::json>>();
  record.failures_ = json.at("failures").get<std::map<std::string, std::string>>();
  return record;
}

void Record::add(const Record& more) {
  for (const auto& [group, facts] : more.facts_) facts_[group] = facts;
  for (const auto& [group, reason] : more.failures_) failures_[group] = reason;
}

Findings judge_failures(const ByRank<Record>& records, const Hosts& hosts) {
  std::map<std::string, Check> checks;
  for (const auto& [rank, record] : records) {
    for (const auto& [group, reason] : record.failures()) {
      Check& check = checks.try_emplace(group, group, "probe").first->second;
      check.amiss(rank, Verdict::kFail, reason, "see what the message names; the other checks do without");
    }
  }
  Findings findings;
  for (const auto& [group, check] : checks) append(findings, check.findings(hosts, ""));
  return findings;
}

ByRank<Record> collect(Communicator& host, const Hosts& hosts, StageClock& clock, std::chrono::milliseconds limit,
                       const Record& mine) {
  ByRank<Record> records;
  if (host.rank() != 0) {
    clock.enter("waiting for rank 0 on " + hosts.of(0), limit + limit / 2);
    send_text(host, mine.text(), 0);
    clock.rest();
    return records;
  }
  records[0] = mine;
  for (int rank = 1; rank < host.size(); ++rank) {
    clock.enter(concat("waiting for rank ", rank, " on ", hosts.of(rank)), limit);
    records[rank] = Record::read(receive_text(host, rank));
  }
  clock.rest();
  return records;
}

}  // namespace retain::checkup
