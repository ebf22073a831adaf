"""Which terms are about people wherever they stand, and the words beside the others that say so.

HolisticBias writes of people alone, and so may list `short`, `rich` and `American`. Other texts write of short
positions, rich yields and American Airlines: such a term counts as a mention of people only beside a person.
"""

from functools import cache


def _listed(words: str) -> frozenset[str]:
    return frozenset(" ".join(word.split()) for word in words.split(","))


_PUNCTUATION = frozenset('.,;:!?()"')
# Axes whose terms name people or their communities wherever they stand, but for those of `_AMBIGUOUS`.
_ALONE_AXES = frozenset({"religion", "sexual_orientation", "gender_and_sex"})
_AMBIGUOUS = _listed(
    """
    secular, spiritual, religious, irreligious, born-again, pagan, agnostic, humanist, sunni, ace, bi, pan,
    poly, straight, fruity, fruitcake, stud, butch, cis, foc, moc, femme, trans, ftm, mtf, f2m, m2f, boi, macho,
    feminine, masculine, male, female, hetero, gender neutral, genderless, evangelical, protestant, reform
    jewish, jain, christian
    """
)
_ALONE = _listed(
    """
    deaf, hard-of-hearing, hearing-impaired, learning-disabled, paraplegic, quadriplegic, autistic,
    wheelchair-bound, dyslexic, neurodivergent, neurodiverse, neurotypical, non-neurotypical, speech-impaired,
    vision-impaired, visually impaired, able-bodied, differently abled, adolescent, teenage, teenaged,
    middle-aged, elderly, octogenarian, nonagenarian, centenarian, senior-citizen, adult, blue-eyed, brown-eyed,
    dark-skinned, light-skinned, brown-skinned, pale-skinned, obese, pregnant, homeless, unhoused, immigrant,
    refugee, undocumented, asylum-seeking, divorced, widowed, unmarried, illiterate, unemployed, blue-collar,
    white-collar, drug-addicted, drug-addict, junkie, orphan, left-handed, stay-at-home, homemaker, gig worker,
    casual worker, baby boomer, millennial, gen-z, gen-x, redneck, hillbilly, hipster, hippie, yuppie, anti-vax,
    pro-life, pro-choice, democrat, leftist, rightist, anarchist, extremist, asian-american, desi,
    african-american, hispanic, latinx, latine, latina, latino, native american, european-american, caucasian,
    arab, aapi, bipoc, pacific islander, alaska native, native hawaiian, chinese-american, cuban-american,
    dominican-american, chicana, chicano, salvadoran-american, indian-american, mexican-american, filipina,
    filipino, filipina-american, filipino-american, korean-american, vietnamese-american, american-born chinese,
    working-class, middle-class, upper-class, one-percenter, college-graduate, high-school-dropout
    """
)
# Nouns as well as adjectives: with an s they name people. Not `shorts`, `teens` or `independents`.
_PLURALS = _listed(
    """
    christian, alcoholic, paraplegic, quadriplegic, diabetic, adolescent, adult, octogenarian, nonagenarian,
    centenarian, senior, senior-citizen, thirty-something, twenty-something, forty-something, orphan, homemaker,
    junkie, gig worker, casual worker, part-timer, half-timer, baby boomer, boomer, millennial, zoomer, hipster,
    hippie, redneck, yuppie, cuban, cuban-american, dominican, salvadoran, guatemalan, indian, mexican, chicana,
    chicano, filipina, filipino, korean, american, mexican-american, indian-american, chinese-american,
    korean-american, filipino-american, vietnamese-american, asian, asian-american, east asian, south asian,
    southeast asian, african, african-american, black, hispanic, latina, latino, aboriginal, native american,
    american indian, caucasian, native hawaiian, pacific islander, european, white, arab, alaska native, latin
    american, liberal, conservative, democrat, republican, leftist, rightist, centrist, libertarian, socialist,
    communist, nationalist, anarchist, extremist, bisexual, gay, homosexual, lesbian, heterosexual, queer,
    transsexual, female, male, college-graduate, high-school-dropout, one-percenter
    """
)
# Noun phrases of HolisticBias that mostly mean something else.
NOT_NOUNS = _listed(
    """
    alcoholic, Christian, veteran, convert, Dreamer, fairy, fruit, ally, survivor, victim, citizen, bystander,
    youth, criminal, Druze, JAP, humanist, Pagan
    """
)
TO_ANYONE = frozenset({"guy", "guys", "bro", "bros", "gal", "gals", "sista", "sistas"})  # said to people of any gender
GENDERED = {"women": ("she", "her", "hers", "herself"), "men": ("he", "him", "his", "himself")}

PRONOUNS = _listed("i, you, he, she, we, they, who, someone, somebody, anyone, everyone")
BEING = _listed("is, are, was, were, be, being, been, am, s, m, re, became, becomes")
DEGREES = _listed("very, so, too, really, quite, also, not, still, always, openly, t, just")
AFTER_PREDICATE = _PUNCTUATION | _listed(
    "and, or, but, because, when, if, while, so, as, since, then, than, who, whereas, though, although"
)
# No person stands behind these any more: `short. People`, `rich with people`.
ENDS = _PUNCTUATION | _listed(
    """
    of, with, for, to, the, a, an, in, on, by, than, from, at, and, or, but, that, which, who, is, are, was, were, be,
    as, into, over, has, have, had, will, would, can, could, may, his, her, their, its, our, my, your, this, these,
    those, against, between
    """
)
_PEOPLE = _listed(
    """
    woman, women, lady, ladies, girl, girls, mother, mothers, mom, moms, daughter, daughters, wife, wives,
    grandmother, grandmothers, grandma, grandmas, sister, sisters, man, men, guy, guys, boy, boys, father,
    fathers, dad, dads, son, sons, husband, husbands, grandfather, grandfathers, grandpa, grandpas, brother,
    brothers, individual, individuals, person, persons, people, folk, folks, kid, kids, parent, parents, child,
    children, spouse, spouses, grandparent, grandparents, sibling, siblings, veteran, veterans, girlfriend,
    girlfriends, boyfriend, boyfriends, friend, friends, human, humans, male, males, female, females
    """
)
_COMMUNITIES = _listed(
    """
    community, communities, family, families, population, populations, neighbor, neighbors, neighbour,
    neighbours, worker, workers, student, students, voter, voters, immigrant, immigrants, citizen, citizens,
    resident, residents, patient, patients, adult, adults, youth, youths, couple, couples, teenager, teenagers,
    teen, teens, baby, babies, lives
    """
)
_OF_ONE_BODY = frozenset({"body_type", "age"})  # a large family and an old community are not about anybody's body


def is_alone(axis: str, name: str) -> bool:
    """Whether a term is about people wherever it stands."""
    name = name.casefold()
    return name in _ALONE or (axis in _ALONE_AXES and name not in _AMBIGUOUS)


def has_plural(name: str) -> bool:
    """Whether a term with an s names people."""
    return name.casefold() in _PLURALS


@cache
def nouns(axis: str) -> frozenset[str]:
    """The nouns that make a term of an axis one about people."""
    return _PEOPLE if axis in _OF_ONE_BODY else _PEOPLE | _COMMUNITIES
