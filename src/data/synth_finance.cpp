// Finance: results, markets, bonds, portfolios, takeovers, budgets. The figures come from
// synth_finance_sums.cpp.

#include "data/synth_domains.h"

namespace moebius::synth {

Domain finance_domain() {
  return {
      "finance",
      {
          {"sample",
           {{6, "<results>"},
            {3, "<market>"},
            {3, "<bond>"},
            {3, "<portfolio>"},
            {3, "<takeover>"},
            {2, "<budget>"}}},
          {"syllable_a",
           {"Bel | Cor | Dar | Fen | Gal | Har | Kes | Lum | Mar | Nor | Ost | Pel | Quin | Ros | "
            "Sal | Tor | Ul | Ver | Wex | Zan"}},
          {"syllable_b",
           {"adine | aro | avia | ecta | elo | enta | exis | ica | idian | imar | inta | iva | "
            "olan | omix | ona | ora | ovar | udo | umen | yra"}},
          {"stem_name", {"<syllable_a><syllable_b>"}},
          {"trade",
           {"Industries | Holdings | Energy | Foods | Logistics | Motors | Chemicals | Retail | "
            "Steel | Airlines | Pharma | Semiconductor | Media | Mining | Insurance"}},
          {"full_name", {"<stem> <trade>"}},
          {"target_name", {"<target_stem> <trade>"}},
          {"quarter", {"first | second | third | fourth"}},
          {"year_name",
           {"2011 | 2012 | 2013 | 2014 | 2015 | 2016 | 2017 | 2018 | 2019 | 2021 | 2022 | 2023"}},
          {"weekday_name", {"Monday | Tuesday | Wednesday | Thursday | Friday"}},
          {"surname",
           {"Abara | Brandt | Castellano | Dvorak | Eriksen | Fontaine | Greaves | Hoshino | "
            "Ivanova | Jelinek | Kowalski | Lindqvist | Mbeki | Núñez | Okafor | Pettersson | "
            "Rahman | Søndergaard | Takahashi | Vasquez"}},
          {"unit",
           {"consumer | industrial | wholesale | export | digital | leasing | services | "
            "licensing"}},
          {"rose", {"rose | climbed | advanced | increased | went up"}},
          {"fell", {"fell | dropped | declined | decreased | went down"}},
          {"because",
           {"stronger orders | weaker demand in Europe | a change in the product mix | "
            "currency effects | the timing of large contracts | new pricing | "
            "inventory adjustments by its customers | volumes in Asia"}},

          // Results of a quarter.
          {"results", {"<opening> <costs> <detail1> <detail2> <detail3> <closing>"}},
          {"opening",
           {"<company> (<ticker>) reported revenue of $<revenue> million for the <quarter> quarter "
            "of <year>, <revenue_way> <revenue_change> percent from $<revenue_before> million a "
            "year earlier.",
            "For the <quarter> quarter of <year>, <company> (<ticker>) posted revenue of "
            "$<revenue> million, <revenue_way> <revenue_change> percent from $<revenue_before> "
            "million in the same period of the previous year.",
            "Sales at <company> (<ticker>) <revenue_moved> <revenue_change> percent in the "
            "<quarter> "
            "quarter of <year>, which brought revenue of $<revenue> million after "
            "$<revenue_before> "
            "million a year before."}},
          {"costs",
           {"After operating costs of $<cost> million, the group made a profit of $<profit> "
            "million, a margin of <margin> percent.",
            "Operating costs of $<cost> million left a profit of $<profit> million, which is "
            "<margin> percent of sales.",
            "With costs of $<cost> million, <stem> earned an operating profit of $<profit> "
            "million, and its margin stood at <margin> percent."}},
          {"detail",
           {"The <unit1> division contributed $<first_part> million and the <unit2> division the "
            "remaining $<second_part> million.",
            "On <shares> million shares outstanding, earnings came to $<per_share> a share.",
            "Net debt was cut by $<debt_repaid> million, from $<debt_before> million to $<debt> "
            "million.",
            "The board proposed a dividend of $<payout> a share, payable on the first "
            "<weekday> of the next quarter.",
            "Management attributed the change to <because>.",
            "The <unit1> division brought in <first_share> percent of total sales.",
            "Shares of <ticker> <price_moved> <price_change> percent to $<price_close> after the "
            "announcement."}},
          {"closing",
           {"For the coming year <stem> expects revenue between $<low> million and $<high> "
            "million.",
            "Chief executive <surname> said <stem> would keep its full-year guidance of $<low> "
            "million to $<high> million.",
            "“We are watching <because> closely,” said finance chief <surname>.",
            "Analysts at <bank> kept their <rating> rating on <ticker>."}},
          {"bank_name",
           {"Harbour Street Securities | Northgate Capital | Meridian Research | "
            "Alder & Finch | Copperfield Partners | Blue Quay Markets"}},
          {"rating", {"buy | hold | sell | neutral | overweight | underweight"}},

          // A day on the market.
          {"index_name",
           {"Harbour 100 | Continental 50 | Pacific Composite | Northern All-Share | "
            "Meridian Industrial Average"}},
          {"mover", {"banks | miners | utilities | carmakers | insurers | chipmakers | airlines"}},
          {"market", {"<tape> <yields> <stock> <market_end>"}},
          {"tape",
           {"Stocks closed <index_way> on <weekday>. The <index> opened at <index_open> and ended "
            "the session at <index_close>, a move of <index_points> points or <index_change> "
            "percent.",
            "The <index> <index_moved> <index_points> points, or <index_change> percent, on "
            "<weekday>, from <index_open> at the open to <index_close> at the close."}},
          {"yields",
           {"In the bond market the ten-year yield <yield_moved> <yield_points> basis points, from "
            "<yield_open> percent to <yield_close> percent.",
            "The yield on ten-year notes <yield_moved> from <yield_open> percent to <yield_close> "
            "percent, a change of <yield_points> basis points."}},
          {"stock",
           {"<company> (<ticker>) <price_moved> <price_change> percent, from $<price_open> to "
            "$<price_close>, on <because>.",
            "Among single names, <company> (<ticker>) went from $<price_open> to $<price_close>, "
            "<price_way> <price_change> percent, as traders cited <because>."}},
          {"market_end",
           {"Trading volume was <volume>, with <mover1> in front and <mover2> behind; <bank> "
            "keeps <a rating> rating on <ticker>.",
            "Dealers at <bank> pointed to <mover1> as the busiest sector, while <mover2> "
            "lagged the <index>.",
            "The <mover1> led the <index> and the <mover2> trailed it, a note from <bank> said."}},
          {"volume", {"light | heavy | in line with the monthly average | thin before a holiday"}},

          // A bond.
          {"paper_kind",
           {"senior note | secured bond | subordinated note | green bond | debenture"}},
          {"bond", {"<bond_start> <bond_interest> <bond_more> <bond_end>"}},
          {"bond_start",
           {"In <issued> <company> issued <a paper> with a principal of $<principal> million, a "
            "fixed coupon of <rate> percent and a term of <years> years, so that it matures in "
            "<due>.",
            "<company> sold <a paper> worth $<principal> million in <issued>; the coupon is fixed "
            "at <rate> percent and, after <years> years, the principal falls due in <due>."}},
          {"bond_interest",
           {"The annual interest of $<interest> million is paid in two instalments of "
            "$<half_interest> million each.",
            "Holders receive annual interest of $<interest> million, which is <rate> percent of "
            "$<principal> million."}},
          {"bond_more",
           {"Over the whole term the interest adds up to $<all_interest> million.",
            "Until <due> the issuer will pay $<all_interest> million in interest in total.",
            "Proceeds of the <paper> were used to refinance loans of the <unit1> division, and "
            "total interest until <due> is $<all_interest> million."}},
          {"bond_end",
           {"Rating agencies assigned the <paper> a grade of <grade>, citing <because>.",
            "<bank> acted as lead manager, and the <paper> is graded <grade>.",
            "On the secondary market the <paper> is quoted by <bank> with a yield of "
            "<yield_open> percent; its grade is <grade>."}},
          {"grade", {"AA | A+ | A | A- | BBB+ | BBB | BBB- | BB+"}},

          // A holding bought and sold.
          {"portfolio", {"<buy> <sell> <sell_end>"}},
          {"buy",
           {"The <fund> fund bought <count> shares of <company> (<ticker>) at $<bought> each, a "
            "position of $<bought_for>.",
            "In <year> the <fund> portfolio took a stake of <count> shares in <company> "
            "(<ticker>); at $<bought> a share the purchase cost $<bought_for>."}},
          {"sell",
           {"Two years later the price had moved to $<sold>, and the <count> shares were sold for "
            "$<sold_for>, a <gain> of $<result> or <holding_change> percent.",
            "When <ticker> traded at $<sold>, the manager sold all <count> shares for $<sold_for> "
            "and booked a <gain> of $<result>, that is <holding_change> percent of the purchase "
            "price."}},
          {"sell_end",
           {"After a broker fee of $<broker_fee>, net proceeds were $<net>; the cash went into "
            "short-term bills yielding <yield_open> percent.",
            "The broker charged $<broker_fee>, so $<net> arrived in the account. <bank> had "
            "moved <ticker> to <rating> because of <because>.",
            "Less the broker fee of $<broker_fee>, the <fund> fund received $<net>, which its "
            "manager <surname> kept in cash."}},
          {"fund_name",
           {"Evergreen | Lighthouse | Summit | Horizon | Cornerstone | Riverbend | Atlas | "
            "Kingfisher"}},

          // A takeover.
          {"takeover", {"<bid> <bid_price> <bid_more> <bid_end>"}},
          {"bid",
           {"<company> (<ticker>) agreed to acquire <target> for $<offer> million, made up of "
            "$<offer_cash> million in cash and $<offer_stock> million in stock.",
            "<company> (<ticker>) will pay $<offer_cash> million in cash and $<offer_stock> "
            "million "
            "in shares for <target>, a deal worth $<offer> million."}},
          {"bid_price",
           {"The offer of $<offer_price> a share is a premium of <premium> percent to the last "
            "close of $<last_price>.",
            "Shareholders of <target> receive $<offer_price> a share, <premium> percent above the "
            "last price of $<last_price>."}},
          {"bid_more",
           {"<bank> advised <stem>, which expects to combine the two <unit1> divisions "
            "within a year.",
            "<stem> plans to fund the cash part with <a paper> at <rate> percent.",
            "The boards of <target> and <stem> support the merger, which regulators must "
            "still approve."}},
          {"bid_end",
           {"Shares of <ticker> <price_moved> <price_change> percent to $<price_close> on the "
            "news.",
            "“<target> fits our <unit1> business,” said <surname>, who leads <stem>.",
            "Analysts see <because> as the main risk to <ticker>."}},

          // A household.
          {"household", {"<surname> family | <surname> household"}},
          {"budget", {"<budget_start> <budget_sum> <budget_end>"}},
          {"budget_start",
           {"The <home> has a monthly income of $<pay> after tax. It spends $<rent> on rent, "
            "$<food> on food and $<travel> on transport.",
            "A monthly budget for the <home>: income $<pay>, rent $<rent>, food $<food>, "
            "transport $<travel>."}},
          {"budget_sum",
           {"Spending therefore comes to $<spent>, and $<saved> is left, which is <saved_share> "
            "percent of income.",
            "The three items add up to $<spent>, so the family can save $<saved> a month, or "
            "<saved_share> percent of what it earns."}},
          {"budget_end",
           {"Over twelve months that makes $<saved_year>, which goes into <a vehicle> at "
            "<rate> percent. An adviser at <bank> suggests keeping three months of spending in "
            "a current account before buying anything else.",
            "In a year the savings reach $<saved_year>. The adviser from <bank> recommends "
            "<a vehicle> with a rate of <rate> percent, because inflation reduces "
            "the value of idle cash."}},
          {"vehicle",
           {"savings account | index fund | pension plan | deposit account | bond fund | "
            "investment trust"}},
      },
      {{"stem", "stem_name"},
       {"target_stem", "stem_name"},
       {"paper", "paper_kind"},
       {"company", "full_name"},
       {"target", "target_name"},
       {"year", "year_name"},
       {"weekday", "weekday_name"},
       {"unit1", "unit"},
       {"unit2", "unit"},
       {"detail1", "detail"},
       {"detail2", "detail"},
       {"detail3", "detail"},
       {"bank", "bank_name"},
       {"index", "index_name"},
       {"mover1", "mover"},
       {"mover2", "mover"},
       {"fund", "fund_name"},
       {"home", "household"}},
      bind_finance,
      false};
}

}  // namespace moebius::synth
