#include "base/context.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/support.h"

namespace moebius {
namespace {

using Lines = std::vector<std::pair<LogLevel, std::string>>;

LogSink into(Lines& lines) {
  return [&](LogLevel level, std::string_view line) { lines.emplace_back(level, line); };
}

TEST(Log, TheSinkGetsLinesOfItsLevelAndAbove) {
  Lines lines;
  const Log log(LogLevel::info, into(lines));
  log.debug("not shown {}", 1);
  log.info("loss {:.1f}", 2.5);
  log.warn("of {}", "old");
  EXPECT_EQ(lines, (Lines{{LogLevel::info, "loss 2.5"}, {LogLevel::warn, "of old"}}));
  EXPECT_FALSE(log.writes_to_stderr());
  EXPECT_TRUE(Log().writes_to_stderr());
}

TEST(Log, CopiesShareTheSinkAndHaveALevelEach) {
  Lines lines;
  const Log log(LogLevel::debug, into(lines));
  const Log quiet = log.with_level(LogLevel::warn);
  quiet.info("lost");
  quiet.warn("kept");
  log.debug("too");
  EXPECT_EQ(lines, (Lines{{LogLevel::warn, "kept"}, {LogLevel::debug, "too"}}));
}

TEST(Log, LinesAreSafeToPrint) {
  Lines lines;
  Log(LogLevel::info, into(lines)).info("{}", "a\nb\x1b[2J");
  EXPECT_EQ(lines.at(0).second, "a\\x0Ab\\x1B[2J");
}

TEST(Log, WithoutASinkLinesGoToStderr) {
  testing::internal::CaptureStderr();
  const Log log;
  log.info("plain");
  log.warn("odd");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "plain\nwarning: odd\n");
}

TEST(Context, TwoInOneProcessHaveLogsOfTheirOwn) {
  Lines lines[2];
  std::vector<std::thread> jobs;
  for (int j = 0; j < 2; ++j) {
    jobs.emplace_back([&, j] {
      Context ctx;
      ctx.log = Log(LogLevel::info, into(lines[j]));
      const Context copy = ctx;
      EXPECT_EQ(copy.compute, ctx.compute);
      for (int i = 0; i < 100; ++i) copy.log.info("job {}", j);
    });
  }
  for (std::thread& job : jobs) job.join();
  for (int j = 0; j < 2; ++j) {
    EXPECT_EQ(lines[j], Lines(100, {LogLevel::info, fmt::format("job {}", j)}));
  }
  EXPECT_NE(Context().compute, Context().compute);
}

TEST(DeviceName, IsCpuOrCudaWithANumber) {
  for (const char* name : {"cpu", "cuda", "cuda:0", "cuda:17"}) {
    EXPECT_NO_THROW(check_device_name(name)) << name;
  }
  for (const char* name :
       {"", "tpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1 ", "cuda:12345"}) {
    EXPECT_THROW(check_device_name(name), UsageError) << name;
  }
}

}  // namespace
}  // namespace moebius
