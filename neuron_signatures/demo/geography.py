"""Real facts: the 50 states of the USA, their capitals and other cities.

Some names exist in several states (Portland, Springfield, Newark). Here each name belongs to one state, so that a city
determines its state and its capital.
"""

from dataclasses import dataclass
from functools import cache

# state | capital | other cities
_TABLE = """
Alabama | Montgomery | Birmingham, Huntsville, Mobile, Tuscaloosa, Dothan
Alaska | Juneau | Anchorage, Fairbanks, Ketchikan, Sitka, Wasilla
Arizona | Phoenix | Tucson, Mesa, Scottsdale, Tempe, Flagstaff
Arkansas | Little Rock | Fayetteville, Jonesboro, Conway, Bentonville, Springdale
California | Sacramento | Oakland, Fresno, Anaheim, Berkeley, Stockton, San Francisco
Colorado | Denver | Boulder, Pueblo, Greeley, Durango, Arvada
Connecticut | Hartford | Bridgeport, Stamford, Waterbury, Norwalk, Danbury
Delaware | Dover | Wilmington, Lewes, Milford, Seaford, Harrington
Florida | Tallahassee | Miami, Orlando, Tampa, Jacksonville, Pensacola
Georgia | Atlanta | Savannah, Macon, Athens, Marietta, Valdosta
Hawaii | Honolulu | Hilo, Kailua, Lahaina, Kahului, Waipahu
Idaho | Boise | Nampa, Meridian, Pocatello, Caldwell, Rexburg
Illinois | Springfield | Chicago, Peoria, Rockford, Joliet, Naperville
Indiana | Indianapolis | Evansville, Muncie, Gary, Kokomo, Bloomington
Iowa | Des Moines | Davenport, Dubuque, Ames, Waterloo, Ottumwa
Kansas | Topeka | Wichita, Lawrence, Salina, Olathe, Hutchinson
Kentucky | Frankfort | Louisville, Lexington, Paducah, Owensboro, Covington
Louisiana | Baton Rouge | Shreveport, Lafayette, Monroe, Houma, New Orleans
Maine | Augusta | Bangor, Lewiston, Biddeford, Sanford, Saco
Maryland | Annapolis | Baltimore, Frederick, Rockville, Gaithersburg, Hagerstown
Massachusetts | Boston | Worcester, Cambridge, Lowell, Brockton, Quincy
Michigan | Lansing | Detroit, Flint, Kalamazoo, Saginaw, Dearborn
Minnesota | Saint Paul | Minneapolis, Duluth, Mankato, Moorhead, Winona
Mississippi | Jackson | Biloxi, Gulfport, Hattiesburg, Tupelo, Natchez
Missouri | Jefferson City | Joplin, Sedalia, Hannibal, Branson, Saint Louis
Montana | Helena | Billings, Missoula, Bozeman, Butte, Kalispell
Nebraska | Lincoln | Omaha, Kearney, Hastings, Scottsbluff, Ogallala
Nevada | Carson City | Reno, Sparks, Elko, Henderson, Las Vegas
New Hampshire | Concord | Manchester, Nashua, Keene, Laconia, Portsmouth
New Jersey | Trenton | Newark, Camden, Hoboken, Paterson, Passaic
New Mexico | Santa Fe | Albuquerque, Roswell, Gallup, Hobbs, Alamogordo
New York | Albany | Buffalo, Rochester, Syracuse, Yonkers, Utica
North Carolina | Raleigh | Charlotte, Durham, Greensboro, Asheville, Gastonia
North Dakota | Bismarck | Fargo, Minot, Williston, Mandan, Dickinson
Ohio | Columbus | Cleveland, Cincinnati, Toledo, Akron, Dayton
Oklahoma | Oklahoma City | Tulsa, Norman, Lawton, Stillwater, Enid
Oregon | Salem | Portland, Eugene, Medford, Corvallis, Gresham
Pennsylvania | Harrisburg | Philadelphia, Pittsburgh, Scranton, Allentown, Erie
Rhode Island | Providence | Warwick, Cranston, Pawtucket, Newport, Woonsocket
South Carolina | Columbia | Greenville, Spartanburg, Sumter, Florence, Beaufort
South Dakota | Pierre | Yankton, Brookings, Sturgis, Deadwood, Vermillion
Tennessee | Nashville | Memphis, Knoxville, Chattanooga, Clarksville, Murfreesboro
Texas | Austin | Dallas, Houston, Lubbock, Amarillo, Galveston, San Antonio
Utah | Salt Lake City | Provo, Ogden, Orem, Moab, Logan
Vermont | Montpelier | Burlington, Rutland, Barre, Winooski, Vergennes
Virginia | Richmond | Norfolk, Roanoke, Chesapeake, Alexandria, Lynchburg
Washington | Olympia | Seattle, Tacoma, Spokane, Yakima, Bellingham
West Virginia | Charleston | Huntington, Wheeling, Morgantown, Parkersburg, Beckley
Wisconsin | Madison | Milwaukee, Kenosha, Racine, Oshkosh, Appleton
Wyoming | Cheyenne | Casper, Laramie, Gillette, Cody, Sheridan
"""


@dataclass(frozen=True)
class State:
    """One state: its name, its capital, and its other cities."""

    name: str
    capital: str
    cities: tuple[str, ...]

    @property
    def all_cities(self) -> tuple[str, ...]:
        """The capital, then the other cities."""
        return (self.capital, *self.cities)


def _parse(line: str) -> State:
    name, capital, cities = (part.strip() for part in line.split("|"))
    return State(name, capital, tuple(city.strip() for city in cities.split(",")))


STATES: tuple[State, ...] = tuple(_parse(line) for line in _TABLE.strip().splitlines())
CITIES: tuple[str, ...] = tuple(city for state in STATES for city in state.all_cities)


@cache
def _state_by_city() -> dict[str, State]:
    return {city: state for state in STATES for city in state.all_cities}


def state_of_city(city: str) -> State:
    """The state of a city or capital; raises KeyError for a name outside the world."""
    return _state_by_city()[city]


def place_names() -> tuple[str, ...]:
    """Every state and city name, states first, without repeats."""
    return tuple(dict.fromkeys([state.name for state in STATES] + list(CITIES)))
