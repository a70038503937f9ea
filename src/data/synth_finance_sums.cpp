// The figures of a finance sample. What depends on others is computed, so that there is arithmetic
// to learn; sums are held in whole units (tenths of a million, cents) and rounded once, in print.

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "data/synth_domains.h"

namespace moebius::synth {
namespace {

std::string tenths(std::int64_t value) {
  return fmt::format("{}.{}", value / 10, value % 10);
}
std::string cents(std::int64_t value) {
  return fmt::format("{}.{:02}", value / 100, value % 100);
}

std::string grouped(std::int64_t value) {
  if (value < 1000) return std::to_string(value);
  return fmt::format("{},{:03}", grouped(value / 1000), value % 1000);
}

std::string money(std::int64_t value) {
  return fmt::format("{}.{:02}", grouped(value / 100), value % 100);
}

/// part / whole in percent, rounded half up to a tenth.
std::string percent(std::int64_t part, std::int64_t whole) {
  return tenths((2000 * part + whole) / (2 * whole));
}

/// `value` moved by -20 to +20 percent, never by nothing.
std::int64_t moved(Expansion& x, std::int64_t value) {
  const std::int64_t by = std::max<std::int64_t>(1, value * x.draw(5, 200) / 1000);
  return x.chance(0.65) ? value + by : value - by;
}

void set_move(Expansion& x, const std::string& name, std::int64_t from, std::int64_t to) {
  x.set(name + "_moved", x.expand(to > from ? "<rose>" : "<fell>"));
  x.set(name + "_way", to > from ? "up" : "down");
  x.set(name + "_change", percent(std::abs(to - from), from));
}

void bind_company(Expansion& x) {
  std::string ticker = x.expand("<stem>").substr(0, 4);
  for (char& c : ticker) {
    if (c >= 'a' && c <= 'z') c -= 'a' - 'A';
  }
  x.set("ticker", ticker);

  const std::int64_t revenue = x.draw(600, 9000), profit = revenue * x.draw(4, 28) / 100;
  const std::int64_t before = moved(x, revenue), first = revenue * x.draw(30, 70) / 100;
  x.set("revenue", tenths(revenue));
  x.set("cost", tenths(revenue - profit));
  x.set("profit", tenths(profit));
  x.set("margin", percent(profit, revenue));
  x.set("revenue_before", tenths(before));
  set_move(x, "revenue", before, revenue);
  x.set("first_part", tenths(first));
  x.set("second_part", tenths(revenue - first));
  x.set("first_share", percent(first, revenue));

  const std::int64_t shares = x.draw(200, 2400);  // tenths of a million
  x.set("shares", tenths(shares));
  x.set("per_share", cents((200 * profit + shares) / (2 * shares)));
  x.set("payout", cents(x.draw(8, 95)));
  const std::int64_t debt = x.draw(100, 3000), repaid = debt * x.draw(10, 60) / 100;
  x.set("debt_before", tenths(debt));
  x.set("debt_repaid", tenths(repaid));
  x.set("debt", tenths(debt - repaid));
  const std::int64_t low = revenue * x.draw(101, 112) / 100;
  x.set("low", tenths(low));
  x.set("high", tenths(low + x.draw(10, 300)));
}

void bind_market(Expansion& x) {
  const std::int64_t open = x.draw(200000, 900000), close = open + x.draw(-9000, 11000) * 2 + 1;
  x.set("index_open", money(open));
  x.set("index_close", money(close));
  x.set("index_points", cents(std::abs(close - open)));
  set_move(x, "index", open, close);
  const std::int64_t price = x.draw(1200, 22000), end = moved(x, price);
  x.set("price_open", cents(price));
  x.set("price_close", cents(end));
  set_move(x, "price", price, end);
  const std::int64_t yield = x.draw(180, 520), points = x.draw(2, 18);
  const bool up = x.chance(0.5);
  x.set("yield_open", cents(yield));
  x.set("yield_close", cents(up ? yield + points : yield - points));
  x.set("yield_points", std::to_string(points));
  x.set("yield_moved", up ? "climbed" : "slipped");
}

void bind_contract_sums(Expansion& x) {
  const std::int64_t principal = 20 * x.draw(2, 45), rate = 25 * x.draw(8, 34);
  const std::int64_t issued = x.draw(2004, 2024), years = x.draw(3, 15);
  const std::int64_t interest = principal * rate / 100;  // in cents of a million, exact
  x.set("principal", std::to_string(principal));
  x.set("rate", cents(rate));
  x.set("interest", cents(interest));
  x.set("half_interest", fmt::format("{}.{:03}", interest * 5 / 1000, interest * 5 % 1000));
  x.set("issued", std::to_string(issued));
  x.set("years", std::to_string(years));
  x.set("due", std::to_string(issued + years));
  x.set("all_interest", cents(interest * years));

  const std::int64_t count = 10 * x.draw(4, 90), bought = x.draw(900, 12000);
  const std::int64_t sold = moved(x, bought), fee = x.draw(500, 2500);
  x.set("count", std::to_string(count));
  x.set("bought", cents(bought));
  x.set("sold", cents(sold));
  x.set("bought_for", money(count * bought));
  x.set("sold_for", money(count * sold));
  x.set("result", money(count * std::abs(sold - bought)));
  x.set("gain", sold > bought ? "gain" : "loss");
  set_move(x, "holding", bought, sold);
  x.set("broker_fee", cents(fee));
  x.set("net", money(count * sold - fee));

  const std::int64_t cash = x.draw(300, 5000), stock = x.draw(200, 4000);
  x.set("offer_cash", tenths(cash));
  x.set("offer_stock", tenths(stock));
  x.set("offer", tenths(cash + stock));
  const std::int64_t last = x.draw(1000, 9000), per_share = last * x.draw(1080, 1500) / 1000;
  x.set("last_price", cents(last));
  x.set("offer_price", cents(per_share));
  x.set("premium", percent(per_share - last, last));

  const std::int64_t pay = 50 * x.draw(54, 140), rent = 25 * x.draw(24, 60);
  const std::int64_t food = 10 * x.draw(28, 70), travel = 5 * x.draw(10, 60);
  const std::int64_t saved = pay - rent - food - travel;
  x.set("pay", grouped(pay));
  x.set("rent", grouped(rent));
  x.set("food", grouped(food));
  x.set("travel", grouped(travel));
  x.set("spent", grouped(rent + food + travel));
  x.set("saved", grouped(saved));
  x.set("saved_year", grouped(12 * saved));
  x.set("saved_share", percent(saved, pay));
}

}  // namespace

void bind_finance(Expansion& x) {
  bind_company(x);
  bind_market(x);
  bind_contract_sums(x);
}

}  // namespace moebius::synth
