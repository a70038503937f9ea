// Names and the folders they lead to; what talks to servers is tested in tests/python/test_hub.py.
#include "hub/cache.h"

#include "base/support.h"
#include "hub/url.h"
#include "hub/verify.h"

namespace moebius::hub {
namespace {

using support::error_of;
using support::mentions;
using support::TempDir;

const std::string commit(40, 'a');

TEST(HubName, TakesWhatAHubTakes) {
  const auto name = parse_name("Some-Org_1/a.model-7B");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->id(), "Some-Org_1/a.model-7B");
  EXPECT_EQ(name->revision, "main");
  EXPECT_EQ(parse_name("a/b@refs/pr/3")->revision, "refs/pr/3");
  EXPECT_EQ(parse_name("a/b@v1.0")->text(), "a/b@v1.0");
  EXPECT_TRUE(is_commit(commit));
  EXPECT_FALSE(is_commit(commit.substr(1)));
  EXPECT_FALSE(is_commit(commit.substr(1) + "A"));
}

TEST(HubName, LeavesPathsAlone) {
  for (const std::string& text : {std::string(),
                                  std::string("a"),
                                  std::string("a/"),
                                  std::string("/a"),
                                  std::string("a/b/c"),
                                  std::string("./a"),
                                  std::string("../a"),
                                  std::string("a/.."),
                                  std::string("a/b@"),
                                  std::string("a/b@.."),
                                  std::string("a/b@x/../y"),
                                  std::string("a/b@/x"),
                                  std::string("a/b@x/.y"),
                                  std::string("a/b c"),
                                  std::string("a/b\n"),
                                  std::string("a/b--c"),
                                  std::string("a/b."),
                                  std::string("-a/b"),
                                  std::string("a/\xC3\xA9"),
                                  "a/" + std::string(97, 'x'),
                                  std::string("a\0/b", 4),
                                  std::string("a/b@c\0d", 7)}) {
    EXPECT_FALSE(parse_name(text)) << text;
  }
}

class HubCache : public ::testing::Test {
 protected:
  TempDir dir_;
  Cache cache_{dir_.path(), *parse_name("org/name")};
};

TEST_F(HubCache, FindsASnapshotByBranchAndCommit) {
  EXPECT_FALSE(cache_.find("main"));
  cache_.write_ref("main", commit);
  EXPECT_FALSE(cache_.find("main"));
  fs::create_directories(cache_.folder() / "blobs");
  std::ofstream(cache_.blob("e")) << "text";
  cache_.link(commit, "config.json", "e");
  EXPECT_EQ(cache_.find("main"), cache_.snapshot(commit));
  EXPECT_EQ(cache_.find(commit), cache_.snapshot(commit));
  EXPECT_FALSE(cache_.find("other"));
  EXPECT_EQ(read_file(cache_.snapshot(commit) / "config.json"), "text");
  EXPECT_EQ(fs::read_symlink(cache_.snapshot(commit) / "config.json"), "../../blobs/e");
  std::ofstream(cache_.blob("f")) << "more";
  cache_.link(commit, "config.json", "f");
  EXPECT_EQ(read_file(cache_.snapshot(commit) / "config.json"), "more");
  EXPECT_EQ(support::names_in(cache_.snapshot(commit)), std::vector<std::string>{"config.json"});
}

TEST_F(HubCache, ARefThatIsNoCommitIsAnError) {
  cache_.write_ref("main", "../../../etc");
  EXPECT_TRUE(
      mentions(error_of([&] { cache_.find("main"); }), {"refs/main", "does not hold a commit"}));
}

TEST_F(HubCache, ALockIsHeldByOne) {
  std::atomic<int> stop{0};
  Context ctx;
  ctx.stop_signal = &stop;
  const fs::path file = cache_.lock_file("e");
  const auto first = std::make_unique<FileLock>(file, ctx);
  stop = 2;
  EXPECT_THROW(FileLock(file, ctx), Interrupted);
  EXPECT_NO_THROW(FileLock(cache_.lock_file("f"), ctx));
}

TEST(HubDigest, KnowsShaOfFilesAndOfGit) {
  const TempDir dir;
  const Context ctx;
  const fs::path file = dir.write("f", "hello\n");
  const auto error = [&](std::string_view etag) {
    return error_of([&] { check_digest(file, etag, ctx); });
  };
  // printf 'hello\n' | sha256sum; printf 'hello\n' | git hash-object --stdin
  EXPECT_EQ(error("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"), "no error");
  EXPECT_EQ(error("ce013625030ba8dba906f756967f9e9ca394464a"), "no error");
  EXPECT_TRUE(mentions(error(std::string(64, '0')), {"digest", "5891b5b522d5"}));
  EXPECT_TRUE(mentions(error(std::string(40, '0')), {"digest", "ce0136250"}));
  EXPECT_EQ(error("other-etag"), "no error");
}

TEST(HubUrl, TellsHostsApart) {
  EXPECT_EQ(origin_of("https://a.b/x"), origin_of("https://a.b:443/y?z"));
  EXPECT_NE(origin_of("https://a.b/x"), origin_of("http://a.b/x"));
  EXPECT_NE(origin_of("http://a.b:1/x"), origin_of("http://a.b:2/x"));
  EXPECT_NE(origin_of("http://a.b/x"), origin_of("http://a.b.evil/x"));
  EXPECT_NE(origin_of("http://a.b@evil/x"), origin_of("http://a.b/x"));
  for (const char* url : {"file:///etc/passwd", "ftp://a/b", "", "a", "://"}) {
    EXPECT_NE(error_of([&] { origin_of(url); }), "no error") << url;
  }
  EXPECT_EQ(escape_component("refs/pr/1"), "refs%2Fpr%2F1");
  EXPECT_EQ(escape_path("a b/c?d/e"), "a%20b/c%3Fd/e");
}

}  // namespace
}  // namespace moebius::hub
