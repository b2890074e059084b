// api/src/pipeline.cc - Pipeline and Pending, and how a connection runs many statements in one go
// (PostgreSQL's documentation, 34.5, "Pipeline Mode").
#include "api/src/connection.h"
#include "api/src/errors.h"
#include "api/src/statement_parts.h"

#include <algorithm>

namespace snowglobe {
inline namespace v1 {

Pending::Pending(std::shared_ptr<const detail::PipelineOutcome> outcome) noexcept
    : outcome_(std::move(outcome)) {}

Result Pending::get() const {
  if (!outcome_->done) throw InvalidArgument("the pipeline was not run: call sync() first");
  if (outcome_->error) std::rethrow_exception(outcome_->error);
  return outcome_->result;
}

Pipeline::Pipeline(std::shared_ptr<detail::Connection> connection)
    : connection_(std::move(connection)) {
  if (!connection_) throw InvalidArgument("this session is moved from");
}

Pipeline::Pipeline(Pipeline&& other) noexcept = default;
Pipeline::~Pipeline() = default;

std::size_t Pipeline::size() const noexcept {
  return steps_.size();
}

Pending Pipeline::add(std::string_view sql, std::span<const Parameter> parameters) {
  (void)detail::ParameterArrays(parameters);  // refuses here what could not be sent
  detail::PipelineStep step;
  step.text = detail::statement_text(sql);
  step.parameters.assign(parameters.begin(), parameters.end());
  for (Parameter& parameter : step.parameters)
    parameter.own();
  step.outcome = std::make_shared<detail::PipelineOutcome>();
  steps_.push_back(std::move(step));
  return Pending(steps_.back().outcome);
}

Pending Pipeline::add(const Statement& statement, std::span<const Parameter> parameters) {
  if (statement.connection_ != connection_) {
    throw InvalidArgument("the statement was prepared in another session");
  }
  Pending pending = add(std::string_view(), parameters);
  steps_.back().name = statement.name_;
  return pending;
}

void Pipeline::sync() {
  if (!connection_) throw InvalidArgument("this pipeline is moved from");
  const std::vector<detail::PipelineStep> steps = std::exchange(steps_, {});
  if (!steps.empty()) connection_->run_pipeline(steps);
}

namespace detail {
namespace {

/// What did not come to an outcome of its own has this one.
void give_up(std::span<const PipelineStep> steps, const std::exception_ptr& why) {
  for (const PipelineStep& step : steps) {
    if (step.outcome->done) continue;
    step.outcome->error = why;
    step.outcome->done = true;
  }
}

}  // namespace

void Connection::run_pipeline(std::span<const PipelineStep> steps) {
  const CallScope scope(*this);
  try {
    require_idle();
    Call call(limit_);
    for (const PipelineStep& step : steps) {
      // A restore took the backend back to before the statement was prepared.
      if (step.name.empty() || prepared_.contains(step.name)) continue;
      prepare_as(step.name, statements_[step.name], call);
    }
    if (PQenterPipelineMode(connection_) == 0) send_failed();
    send_steps(steps, call);
    for (const PipelineStep& step : steps)
      read_outcome(step, call);
    end_pipeline(call);
  } catch (...) {
    // Whatever it was: an answer that nobody waits for must not meet the next statement.
    if (connection_ != nullptr && PQpipelineStatus(connection_) != PQ_PIPELINE_OFF) close();
    give_up(steps, std::current_exception());
    throw;
  }
  for (const PipelineStep& step : steps) {
    if (step.outcome->error) std::rethrow_exception(step.outcome->error);
  }
}

void Connection::send_steps(std::span<const PipelineStep> steps, Call& call) {
  for (const PipelineStep& step : steps) {
    const ParameterArrays arrays(step.parameters);
    const int sent = step.name.empty()
                         ? PQsendQueryParams(connection_, step.text.c_str(), arrays.count(),
                                             arrays.types_for(step.text), arrays.values.data(),
                                             arrays.lengths.data(), arrays.formats.data(), 0)
                         : PQsendQueryPrepared(connection_, step.name.c_str(), arrays.count(),
                                               arrays.values.data(), arrays.lengths.data(),
                                               arrays.formats.data(), 0);
    if (sent == 0) send_failed();
  }
  if (PQpipelineSync(connection_) == 0) send_failed();
  flush(call);
}

void Connection::read_outcome(const PipelineStep& step, Call& call) {
  PipelineOutcome& outcome = *step.outcome;
  // The results of one statement end with a null one.
  while (PqResult result = next_result(call)) {
    switch (PQresultStatus(result.get())) {
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        outcome.result = Result(std::make_shared<const ResultData>(std::move(result)));
        break;
      case PGRES_PIPELINE_ABORTED:
        outcome.error = std::make_exception_ptr(
            PipelineAborted("not run, since an earlier statement of its pipeline failed"));
        break;
      case PGRES_COPY_IN:
      case PGRES_COPY_OUT:
      case PGRES_COPY_BOTH:
        throw InvalidArgument(
            "a pipeline cannot COPY from or to the client: the session is closed");
      default:
        try {
          throw_result_error(result.get(), call);
        } catch (...) {
          if (connection_ == nullptr) throw;  // the session is over, not only the statement
          outcome.error = std::current_exception();
        }
    }
  }
  if (PQstatus(connection_) == CONNECTION_BAD) throw_result_error(nullptr, call);
  outcome.done = true;
}

void Connection::end_pipeline(Call& call) {
  const PqResult synced = next_result(call);
  if (PQresultStatus(synced.get()) != PGRES_PIPELINE_SYNC || PQexitPipelineMode(connection_) == 0) {
    throw_result_error(synced.get(), call);
  }
}

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
