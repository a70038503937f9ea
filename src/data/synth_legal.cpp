// Legal: contracts with numbered sections, defined terms that recur, and cross-references that
// point at sections of the same sample.

#include <array>
#include <utility>

#include "base/error.h"
#include "data/synth_domains.h"

namespace moebius::synth {
namespace {

struct Kind {
  const char *title, *role_a, *role_b, *subject, *defined, *payment, *duty;
};

/// Role A owes the duty, role B the payment.
constexpr std::array kKinds = {
    Kind{"Services Agreement", "Supplier", "Customer", "the consulting services listed in Annex A",
         "Services", "Fee", "perform the Services with reasonable skill and care"},
    Kind{"Lease Agreement", "Landlord", "Tenant", "the commercial premises described in Annex A",
         "Premises", "Rent", "keep the structure of the Premises in good repair"},
    Kind{"Licence Agreement", "Licensor", "Licensee", "the software identified in Annex A",
         "Software", "Royalty", "maintain the Software and correct reported defects"},
    Kind{"Supply Agreement", "Seller", "Buyer", "the goods specified in Annex A", "Goods", "Price",
         "deliver the Goods free of defects in material and workmanship"},
    Kind{"Construction Agreement", "Contractor", "Owner", "the building works set out in Annex A",
         "Works", "Contract Sum", "carry out the Works in accordance with the drawings"},
    Kind{"Distribution Agreement", "Manufacturer", "Distributor",
         "the product range shown in Annex A", "Products", "Purchase Price",
         "ship the Products from its own warehouse without undue delay"},
};

constexpr std::array kNumbers = {
    std::pair{"five", 5},        std::pair{"seven", 7},         std::pair{"ten", 10},
    std::pair{"fourteen", 14},   std::pair{"fifteen", 15},      std::pair{"twenty", 20},
    std::pair{"twenty-one", 21}, std::pair{"thirty", 30},       std::pair{"forty-five", 45},
    std::pair{"sixty", 60},      std::pair{"seventy-five", 75}, std::pair{"ninety", 90},
};

std::string in_words(const std::pair<const char*, int>& number) {
  return fmt::format("{} ({})", number.first, number.second);
}

void bind_legal(Expansion& x) {
  const Kind& kind = kKinds[static_cast<std::size_t>(x.draw(0, kKinds.size() - 1))];
  x.set("title", kind.title);
  x.set("role_a", kind.role_a);
  x.set("role_b", kind.role_b);
  x.set("subject", kind.subject);
  x.set("defined", kind.defined);
  x.set("payment", kind.payment);
  x.set("duty", kind.duty);
  for (const char* name : {"days1", "days2", "days3"}) {
    x.set(name, in_words(kNumbers[static_cast<std::size_t>(x.draw(0, kNumbers.size() - 1))]));
  }
  x.set("years", in_words(kNumbers[static_cast<std::size_t>(x.draw(0, 2))]));
  x.set("amount", fmt::format("{},{:03}", x.draw(2, 950), 50 * x.draw(0, 19)));
  x.set("date", fmt::format("{} {} {}", x.draw(1, 28), x.expand("<month>"), x.draw(1998, 2024)));
  // A sample is the start of a contract or an excerpt from its middle.
  const bool whole = x.chance(0.4);
  x.set("head", whole ? x.expand("<preamble>\n") : "");
  const std::int64_t first = whole ? 1 : x.draw(2, 17);
  for (std::int64_t i = 0; i < 4; ++i) x.set(fmt::format("n{}", i), std::to_string(first + i));
}

}  // namespace

Domain legal_domain() {
  return {
      "legal",
      {
          {"sample",
           {{4, "<head><n0>. <base>\n<n1>. <middle1>"},
            {2, "<head><n0>. <base>\n<n1>. <middle1>\n<n2>. <last>"},
            {1, "<head><n0>. <base>\n<n1>. <middle1>\n<n2>. <middle2>"},
            {1, "<head><n0>. <base>\n<n1>. <middle1>\n<n2>. <middle2>\n<n3>. <last>"}}},
          {"month",
           {"January | February | March | April | May | June | July | August | September | "
            "October | November | December"}},
          {"firm_name",
           {"Abbot | Ashdown | Barrow | Calder | Dunmore | Ellison | Fairfax | Garnet | Halden | "
            "Ingram | Jarrow | Keswick | Langley | Marlow | Norwood | Osborne | Pemberton | "
            "Radcliffe | Selwyn | Thornbury | Underhill | Vickers | Whitmore | Yardley"}},
          {"form", {"Limited | LLC | Inc. | GmbH | S.A. | Partners LLP | & Sons Limited | plc"}},
          {"party", {"<firm_name> <form>"}},
          {"state",
           {"Delaware | Ontario | Nevada | Scotland | Ireland | New York | Bavaria | Singapore | "
            "California | Queensland | England | Illinois"}},
          {"preamble",
           {"This <title> (the “Agreement”) is made on <date> between <name_a>, a company "
            "organised under the laws of <state1> (the “<role_a>”), and <name_b> (the "
            "“<role_b>”).",
            "THIS <title> (this “Agreement”), dated <date>, is entered into by and between "
            "<name_a> (“<role_a>”) and <name_b>, <a entity> of <state2> (“<role_b>”).",
            "WHEREAS <name_a> (the “<role_a>”) is willing to provide, and <name_b> (the "
            "“<role_b>”) wishes to obtain, <subject>; NOW, THEREFORE, on <date> the parties "
            "agree to this <title> (the “Agreement”)."}},
          {"entity", {"corporation | undertaking | limited partnership | trading association"}},

          // A base clause defines what the later ones refer to.
          {"base",
           {"<Definitions>. For the purposes of this Agreement, and of Section <n1> in particular, "
            "“<defined>” means <subject>, and “<payment>” means the amount payable therefor by the "
            "<role_b>.",
            "Scope. Subject to Section <n1>, the <role_a> shall <duty>, and the <role_b> shall "
            "accept the <defined> (as defined in Annex A) in return for the <payment>.",
            "Term. This Agreement commences on <date> and, unless terminated earlier pursuant "
            "to Section <n1>, continues for a period of <years> years (the “Term”).",
            "<payment>. In consideration of the <defined>, the <role_b> shall pay to the <role_a> "
            "the sum of $<amount> (the “<payment>”) within <days1> days of the date of invoice, "
            "save as provided in Section <n1>."}},
          {"definitions", {"definitions | interpretation | defined Terms"}},

          // Middle clauses refer to section n0.
          {"middle",
           {"Late Payment. If the <role_b> fails to pay any sum due under Section <n0> within "
            "<days2> days, it shall pay interest thereon at <rate> percent per annum from the due "
            "date until actual payment.",
            "Confidentiality. Each party shall keep secret all <secret> disclosed by the other in "
            "connection with Section <n0>, and shall not disclose the same to any third party "
            "without prior written consent.",
            "Warranties. The <role_a> represents and warrants that it has full power to enter "
            "into this Agreement, that it shall <duty>, and that the <defined> will comply with "
            "Section <n0>.",
            "Termination. Either party may terminate this Agreement upon <days2> days’ written "
            "notice if the other commits a material breach of Section <n0> and fails to remedy "
            "<such> breach within that period.",
            "Indemnity. The <role_b> shall indemnify and hold harmless the <role_a> from and "
            "against any <loss> arising out of a breach of Section <n0> by the <role_b> or its "
            "<agents>.",
            "Inspection. Upon <days2> days’ notice the <role_b> may inspect the <defined> and the "
            "records kept by the <role_a> under Section <n0>, provided that it does so during "
            "business hours.",
            "Limitation of Liability. Notwithstanding Section <n0>, in no event shall the "
            "aggregate liability of the <role_a> exceed $<amount>, except in the case of "
            "<exception>.",
            "Insurance. During the term of this Agreement the <role_a> shall maintain insurance of "
            "not less than "
            "$<amount> against <risk>, and shall produce the policy within <days3> days of a "
            "request made under Section <n0>."}},
          {"such", {"such | the | said"}},
          {"secret",
           {"trade secrets | technical documentation | price lists | financial records | "
            "business information"}},
          {"rate", {"three | four | five | six | eight | nine | ten | twelve"}},
          {"loss",
           {"loss, damage or expense | claim, liability or cost | third-party claim | "
            "penalty, fine or judgment | loss (including reasonable attorneys’ fees)"}},
          {"agents",
           {"employees | agents | subcontractors | representatives | officers and directors"}},
          {"exception",
           {"fraud | wilful misconduct | gross negligence | personal injury | death or bodily "
            "harm"}},
          {"risk",
           {"fire | theft | public liability | flood | professional negligence | loss of data"}},

          // Last clauses refer to sections n0 and n1.
          {"last",
           {"Governing Law. This Agreement shall be governed by the laws of <state2>, and any "
            "dispute arising under Section <n0> or Section <n1> shall be referred to <forum>.",
            "Survival. The provisions of Sections <n0> and <n1> shall survive the expiry or "
            "termination of this Agreement for <years> years, whatever the cause.",
            "Notices. Any notice under Section <n1> shall be in writing, addressed to <name_a> or "
            "<name_b> as the case may be, and is deemed received <days3> days after <posting>.",
            "Assignment. Neither the <role_a> nor the <role_b> may assign its rights under "
            "Section <n0> without the prior written consent of the other, such consent not to be "
            "unreasonably withheld.",
            "Force Majeure. Neither party is liable for a failure to perform Section <n1> caused "
            "by <event>, provided that it notifies the other within <days3> days.",
            "Severability. Should any provision of Section <n1> be held void or unenforceable, "
            "Section <n0> and the remainder of this Agreement shall remain in full force and "
            "effect."}},
          {"forum",
           {"the courts of <state2> | a sole arbitrator seated in <state2> | mediation before "
            "any court action | a panel of three arbitrators"}},
          {"posting", {"posting | dispatch by courier | delivery to the registered office"}},
          {"event",
           {"war, flood or strike | an act of God | government action | an epidemic | fire"}},
      },
      {{"name_a", "party"},
       {"name_b", "party"},
       {"state1", "state"},
       {"state2", "state"},
       {"middle1", "middle"},
       {"middle2", "middle"}},
      bind_legal,
      false};
}

}  // namespace moebius::synth
