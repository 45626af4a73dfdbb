"""Made-up texts to measure with: the same ones every time, of lengths as mixed as in real traffic."""

import math
import random

SHORTEST, LONGEST = 3, 120
"""Words of a text; between them every order of length is as likely as any other."""

VOCABULARY = """
a about across after again air all along always amber and animal answer apple around arrive autumn back bakery bank
basket beach because before begin behind bell better bicycle bird black blue boat book bottle branch bread bridge bright
bring brother brown build busy butter buy call candle captain careful carry castle cat chair cheese child church circle
city clean clear climb clock close cloud coast coffee cold colour come copper corner cotton country cousin cover cross
dance dark daughter day deep desert dinner distance doctor dog door doubt down dream dress drink drive dry dust eagle
early earth east easy eat edge engine enough evening every eye face fall family farmer fast father feather field finger
fire first fish floor flower follow forest forget friend from front fruit garden gather gentle glass go gold grandmother
grass green ground grow guitar hammer hand harbour hat hear heavy help hill history hold holiday honey horse hour house
hungry ice idea in inside iron island journey juice jump keep kettle key kitchen ladder lake lamp language large late
laugh leaf learn leave lemon letter library light line listen little long loud low machine make many map market meadow
measure meet metal middle milk mirror money moon morning mother mountain mouse music name narrow near needle never new
night noise north number ocean of offer old on open orange over paint paper park pass path pencil people pepper piano
picture plant play pocket pond potato promise pull quiet rain reach read ready red remember repeat rice ring river road
roof room root rope round run sail salt sand school sea season second seed sell send shadow shallow sheep shine ship
shoe short shoulder silver simple sing sister sit sky sleep slow small smoke snow soft song south speak spring stand
star station stone storm story straight street strong summer sun sweet swim table tailor tall teach tell the thick thin
think through ticket time to together tomorrow tower town train travel tree under until valley village visit voice wait
walk wall warm wash water wave weather west wheel white wide wild wind window winter wise with wood word work write
yellow yesterday young
"""


def mixed_texts(count: int, *, shortest: int = SHORTEST, longest: int = LONGEST, seed: int = 7) -> list[str]:
    """Return texts of `shortest` to `longest` words, log-uniform, the same for the same arguments."""
    chance = random.Random(seed)
    words = VOCABULARY.split()
    low, high = math.log(shortest), math.log(longest + 1)
    lengths = (min(longest, int(math.exp(chance.uniform(low, high)))) for _ in range(count))
    return [" ".join(chance.choices(words, k=length)) for length in lengths]
