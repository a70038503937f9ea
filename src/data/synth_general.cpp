// General: everyday prose about a person, a friend, a place and a thing that recur in a sample,
// with matching pronouns.

#include "base/error.h"
#include "data/synth_domains.h"

namespace moebius::synth {
namespace {

void set_person(Expansion& x, const std::string& prefix) {
  const bool woman = x.chance(0.5);
  x.set(prefix + "name", x.expand(woman ? "<woman>" : "<man>"));
  x.set(prefix + "they", woman ? "she" : "he");
  x.set(prefix + "them", woman ? "her" : "him");
  x.set(prefix + "their", woman ? "her" : "his");
}

void bind_general(Expansion& x) {
  set_person(x, "");
  // The friend's pronouns are seldom used; different genders keep the two persons apart.
  const bool hero_is_she = x.expand("<they>") == "she";
  x.set("friend", x.expand(hero_is_she ? "<man>" : "<woman>"));
  x.set("friend_they", hero_is_she ? "he" : "she");
  x.set("friend_them", hero_is_she ? "him" : "her");
  x.set("friend_their", hero_is_she ? "his" : "her");
  const std::int64_t hour = x.draw(6, 9), minutes = 5 * x.draw(2, 10);
  x.set("time", fmt::format("{}:{:02}", hour, minutes));
  x.set("later", fmt::format("{}:{:02}", hour + x.draw(1, 3), minutes));
  const std::int64_t cups = x.draw(2, 4);
  const char* words[] = {"one", "two", "three", "four", "five", "six", "seven", "eight"};
  x.set("few", words[cups - 1]);
  x.set("twice", words[2 * cups - 1]);
  x.set("minutes", std::to_string(minutes));
}

}  // namespace

Domain general_domain() {
  return {
      "general",
      {
          {"sample",
           {{5, "<story>"}, {4, "<talk>"}, {2, "<place_text>"}, {2, "<letter>"}, {2, "<recipe>"}}},
          {"woman",
           {"Anna | Beatrice | Clara | Daniela | Esther | Fatima | Greta | Hana | Ingrid | Julia | "
            "Katya | Leila | Marta | Nadia | Olivia | Priya | Ruth | Sofia | Tamara | Zoë"}},
          {"man",
           {"Adam | Bruno | Cyrus | David | Emil | Felix | George | Hugo | Ivan | Jonas | Karim | "
            "Leon | Marco | Nils | Omar | Peter | Rafael | Samuel | Tom | José"}},
          {"town_name",
           {"Alderbrook | Brookhaven | Cliffside | Dunwick | Eastmere | Fernhill | Greenford | "
            "Hollowell | Larkfield | Millbridge | Oakhurst | Penrose | Rivermouth | Stonefield | "
            "Westbury | Willowdale"}},
          {"spot_name",
           {"bakery | library | market | harbour | museum | park | café | school | bookshop | "
            "garden | post office | old bridge"}},
          {"thing_name",
           {"umbrella | bicycle | red scarf | old camera | notebook | silver key | basket | "
            "lantern | violin | paper map | wooden box | kite | watch | blue teapot"}},
          {"animal_name",
           {"grey cat | small dog | white horse | goose | robin | hedgehog | owl | black kitten"}},
          {"weather",
           {"the rain had just stopped | the sun was barely up | a cold wind blew from the hills | "
            "fog lay over the river | it was warm and still | snow covered the roofs | "
            "the leaves were turning yellow | thunder rolled far away"}},
          {"day_name", {"Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday"}},
          {"relative_name",
           {"grandmother | uncle | sister | brother | cousin | aunt | neighbour | grandfather"}},
          {"adverb", {"slowly | quietly | carefully | gently | patiently"}},
          {"feeling", {"tired | glad | curious | hungry | nervous | cheerful | sleepy"}},

          // A story.
          {"story", {"<begin> <problem> <search> <turn> <ending>"}},
          {"begin",
           {"On <day> morning <name> left the house at <time>, when <weather>. <They> "
            "carried <a thing> and wanted to be at the <spot> in <town> by <later>.",
            "It was <day>, and <weather>. <Name> had promised <their> <relative> to bring <a "
            "thing> to "
            "the <spot> in <town> at <time>.",
            "<Name> lived next to the <spot> in <town>. Every <day> at <time>, when the street was "
            "still empty, <they> went out with <a thing>."}},
          {"problem",
           {"Halfway there <they> noticed that the <thing> was gone.",
            "At the corner somebody bumped into <them>, and when <they> looked again, the <thing> "
            "was not there any more.",
            "Suddenly <they> stopped: the <thing> belonged to <their> <relative>, and now it was "
            "missing."}},
          {"search",
           {"<They> looked under the bench, behind the wall and in <their> bag, but the <thing> "
            "was nowhere to be seen.",
            "<They> <adverb> asked <a person> at the <spot> about the <thing>, and the answer was "
            "a shake of the head.",
            "Then <they> sat down near the <spot> and tried to remember where <they> had put the "
            "<thing>."}},
          {"person", {"old man | young woman | child | waiter | gardener | teacher | postman"}},
          {"turn",
           {"Just then <friend> came along with the <thing> under <friend_their> arm.",
            "After a while <friend> came by; <a animal> had led <friend_them> to the <thing>.",
            "It was <friend> who found the <thing> at last, in <friend_their> own kitchen."}},
          {"ending",
           {"<Name> laughed and thanked <them_or_friend>, and together they walked home through "
            "<town>.",
            "“You should take better care of the <thing>,” said <friend>. <Name> nodded; <they> "
            "was too <feeling> to answer.",
            "By <later> everyone in <town> knew the story, and <name> told it again to <their> "
            "<relative> that evening."}},
          {"them_or_friend", {"<friend> | <friend> twice | <friend> with a smile"}},

          // A conversation.
          {"talk", {"<exchange>\n<exchange2>\n<talk_end>"}},
          {"exchange",
           {"“Have you seen my <thing>?” asked <name>. “I had it at the <spot> this morning.”\n"
            "“I think your <relative> took the <thing>,” said <friend>, “but I am not sure.”",
            "“Have you seen <a thing> anywhere?” asked <name>.\n<Friend> looked up <adverb>. "
            "“There "
            "was <a thing> at the <spot>, but that was on <day>.”",
            "“Are you coming to the <spot> tomorrow?” <name> asked. “I can be there at <time>.”\n"
            "“Not at <time>,” <friend> replied. “My <relative> is coming to see me.”",
            "“Why is there <a animal> near the <spot>?” <name> wanted to know.\n“It belongs "
            "to my <relative>,” said <friend>. “It has been there since <time>.”"}},
          {"exchange2",
           {"“Were you not in <town> on <day2>? What did you do there?” <they> said.\n“I wanted to "
            "buy "
            "<a thing2>,” said <friend>. “They sell them at the <spot2>.”",
            "“Then let us go to <town> together,” said <name>, and put on <their> coat.\n“Yes, and "
            "we could take the <thing2> with us,” <friend_they> suggested.",
            "<Name> sighed. “I am <feeling>, and it is already <later>.”\n“Do not worry,” "
            "<friend_they> said. “We will stop at the <spot2> and I will show you my <thing2>.”"}},
          {"talk_end",
           {"So <name> and <friend> met in front of the <spot2> the next day, and <weather>. In "
            "the end they stayed there until evening.",
            "<Name> smiled, because <they> had always wanted <a thing2>.",
            "They talked for another <minutes> minutes, and then <friend> took <friend_their> bag "
            "and went home."}},

          // A place.
          {"place_text", {"<place1> <place2> <place3> <place4>"}},
          {"place1",
           {"<Town> is a small town with a river, a market square and <a spot> that is older than "
            "the church.",
            "Visitors who come to <town> for the first time usually see the <spot> before "
            "anything else."}},
          {"place2",
           {"In summer, people sit outside until late; in winter the streets are empty by "
            "<time> in the evening, and only the <spot> keeps its lights on.",
            "On <s day> farmers bring apples, honey and cheese, and the children of <town> "
            "chase <a animal> between the stalls."}},
          {"place3",
           {"<Name>, who lives near the <spot>, says that <they> would never live anywhere else: "
            "<their> <relative> was born here, and so was <they>.",
            "The best view is from the hill behind the <spot2>, where <name> and <their> "
            "<relative> often sit when the evening is warm."}},
          {"place4",
           {"Trains to the coast leave at <time> and at <later>, and the walk from the station "
            "to the <spot> takes <minutes> minutes.",
            "If you have <minutes> minutes to spare, walk from the <spot> to the <spot2>; you "
            "will pass <few> bridges and <twice> old houses."}},

          // A letter.
          {"letter", {"Dear <friend>,\n<letter1> <letter2> <letter3>\n<bye>,\n<name>"}},
          {"letter1",
           {"Thank you for the <thing> you sent me. It arrived on <day>, when <weather>, and my "
            "<relative> liked it at once.",
            "I am writing to you from <town>, where I have been staying with my <relative> since "
            "<day>. From my window I can see the <spot>."}},
          {"letter2",
           {"Yesterday we walked to the <spot> and saw <few> boats and <a animal>. I was "
            "<feeling>, "
            "but the walk of <minutes> minutes did me good.",
            "Every morning at <time> I go to the <spot2> to buy bread, and you would not "
            "believe how kind the people are."}},
          {"letter3",
           {"Could you bring the <thing2> when you visit us next <day>? The train arrives at "
            "<later>, and I will wait for you at the <spot>.",
            "Please tell your <relative> that I have not forgotten the <thing2>. I will bring it "
            "when I come home next <day>."}},
          {"bye", {"Yours | With love | Best wishes | See you soon | Warm greetings"}},

          // A recipe.
          {"recipe", {"<recipe1> <recipe2> <recipe3> <recipe4>"}},
          {"recipe1",
           {"To make <dish> the way <name> does, take <few> cups of <base> and <twice> spoons of "
            "<extra1>.",
            "<Name> learned to cook <dish> from <their> <relative>. You need <few> cups of "
            "<base>, <twice> spoons of <extra1> and a little <extra2>."}},
          {"dish", {"soup | porridge | dumplings | pancakes | a pie | stew | flat bread"}},
          {"base", {"flour | lentils | oats | potatoes | rice | beans | cornmeal"}},
          {"extra_name",
           {"butter | honey | oil | chopped onion | cream | parsley | sugar | mustard"}},
          {"recipe2",
           {"First mix the <extra1> with warm water and let it rest; then add the rest <adverb>, "
            "stirring all the time.",
            "Heat the <extra1> in a large pan, pour everything in and stir it <adverb> with a "
            "wooden spoon."}},
          {"recipe3",
           {"It has to cook for <minutes> minutes. Meanwhile, set the table and open the "
            "window, for it will be warm in the kitchen.",
            "After <minutes> minutes it should smell good; if not, add <extra2> and wait a little "
            "longer."}},
          {"recipe4",
           {"Serve it with <extra2> at the table. <Friend>, who came to dinner on <day>, ate <few> "
            "plates and asked <name> for the recipe.",
            "<Name> always keeps a plate for <their> <relative>, who comes home from the <spot> at "
            "<later> and is <feeling>."}},
      },
      {{"town", "town_name"},
       {"spot", "spot_name"},
       {"spot2", "spot_name"},
       {"thing", "thing_name"},
       {"thing2", "thing_name"},
       {"animal", "animal_name"},
       {"day", "day_name"},
       {"day2", "day_name"},
       {"relative", "relative_name"},
       {"extra1", "extra_name"},
       {"extra2", "extra_name"}},
      bind_general,
      false};
}

}  // namespace moebius::synth
